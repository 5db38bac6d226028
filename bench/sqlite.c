/* SPDX-License-Identifier: MIT */
/* OPTIONAL: sqlite3.h -lsqlite3 */
/* SQLite with its heap, and so its database, in trapped windows. */
#include <stdio.h>
#include <string.h>

#include "library.h"

#if __has_include(<sqlite3.h>) && !defined(BENCH_BARE)
#include <sqlite3.h>

static struct t_arena *heap = &bench_plain_heap;

static struct t_arena *owner(const void *block)
{
	return t_arena_owns(&bench_window_heap, block) ? &bench_window_heap : &bench_plain_heap;
}

static void *heap_malloc(int size)
{
	return t_arena_alloc(heap, (size_t)size);
}

static void heap_free(void *block)
{
	t_arena_free(owner(block), block);
}

static int heap_size(void *block)
{
	return block ? (int)t_arena_size(owner(block), block) : 0;
}

static void *heap_realloc(void *block, int size)
{
	void *larger;

	if (size <= heap_size(block))
		return block;
	larger = heap_malloc(size);
	if (!larger)
		return NULL;
	memcpy(t_arena_host(heap, larger), t_arena_host(owner(block), block),
	       (size_t)heap_size(block));
	heap_free(block);
	return larger;
}

static int heap_roundup(int size)
{
	return (size + 7) & ~7;
}

static int heap_init(void *nothing)
{
	(void)nothing;
	return SQLITE_OK;
}

static void heap_shutdown(void *nothing)
{
	(void)nothing;
}

static const sqlite3_mem_methods methods = {.xMalloc = heap_malloc,
                                            .xFree = heap_free,
                                            .xRealloc = heap_realloc,
                                            .xSize = heap_size,
                                            .xRoundup = heap_roundup,
                                            .xInit = heap_init,
                                            .xShutdown = heap_shutdown};

static const char script[] =
	"CREATE TABLE reg(id INTEGER PRIMARY KEY, name TEXT, at INTEGER, width INTEGER);"
	"CREATE INDEX reg_at ON reg(at);"
	"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60)"
	" INSERT INTO reg SELECT i, 'reg' || i, i * 7919 % 1000 * 4, 8 << i % 3 FROM n;"
	"UPDATE reg SET name = upper(name) || '_' || at WHERE at % 3 = 0;"
	"DELETE FROM reg WHERE id % 10 = 3;"
	"SELECT width, count(*), sum(at), max(name) FROM reg GROUP BY width;"
	"SELECT a.name, b.at FROM reg a JOIN reg b ON b.id = a.id + 1 ORDER BY b.at LIMIT 20;"
	"PRAGMA integrity_check;";

/* What the rows say, byte by byte: values come from windows and are read there. */
static int on_row(void *sum, int columns, char **values, char **names)
{
	uint64_t *s = sum;

	(void)names;
	for (int i = 0; i < columns; i++)
		for (const char *c = values[i] ? values[i] : "NULL"; *c; c++)
			*s = (*s ^ (uint8_t)*c) * 0x100000001b3;
	return 0;
}

static uint64_t work(bool in_windows)
{
	uint64_t sum = 0xcbf29ce484222325;
	size_t live = bench_plain_heap.live;
	char *why = NULL;
	sqlite3 *db;

	heap = in_windows ? &bench_window_heap : &bench_plain_heap;
	if (sqlite3_open(":memory:", &db) || sqlite3_exec(db, script, on_row, &sum, &why))
		bench_fail("SQLite: %s", why ? why : sqlite3_errmsg(db));
	if (sqlite3_close(db))
		bench_fail("SQLite: the database can't be closed");
	heap = &bench_plain_heap;
	if (in_windows)
		bench_library_clear(&bench_window_heap);
	else if (bench_plain_heap.live != live)
		bench_fail("SQLite kept memory");
	return sum;
}

static const char *set_up(void)
{
	bench_library_set_up();
	if (sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) || sqlite3_initialize())
		return "SQLite can't be given a heap";
	return NULL;
}
#else
static uint64_t work(bool in_windows)
{
	return in_windows;
}

static const char *set_up(void)
{
	return "not there: apt-get install libsqlite3-dev";
}
#endif

static const struct bench_library library = {"SQLite", work, 1300};

static struct bench_row rows[] = {BENCH_LIBRARY_ROWS("sqlite", "SQLite", library)};

struct bench_part bench_sqlite = {.set_up = set_up, .rows = rows, .count = BENCH_COUNT(rows)};
