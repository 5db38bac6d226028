/* SPDX-License-Identifier: MIT */
/* LDLIBS: -lsqlite3 */
/*
 * SQLite with its heap and its page cache in trapped windows: rows, errors and the image of the
 * database are those of the same run on plain memory. Debian's SQLite has neither
 * SQLITE_CONFIG_HEAP nor lookaside memory compiled in: the heap comes from SQLITE_CONFIG_MALLOC.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <regmap/regmap.h>

#include "arena.h"
#include "child.h"

enum { HEAP = 32 << 20, PAGES = 100, PAGE_ROOM = 1024 << 10, LOG = 1 << 20, PATIENCE = 240 };

/* One run, in a child process: what SQLite is configured with can't be changed afterwards. */
struct run {
	struct t_place (*heap_place)(uint64_t guest, size_t length);
	uint64_t heap, pages; /* guest addresses; 0: plain memory */
	unsigned threshold;   /* of faults before a site is patched; 0: none is */
	unsigned statements;
	size_t used;
	char log[LOG];
};

/* SQLite's heap */

static struct t_arena arena;

static void *heap_malloc(int size)
{
	return t_arena_alloc(&arena, (size_t)size);
}

static void heap_free(void *block)
{
	t_arena_free(&arena, block);
}

static int heap_size(void *block)
{
	return block ? (int)t_arena_size(&arena, block) : 0;
}

static void *heap_realloc(void *block, int size)
{
	return t_arena_realloc(&arena, block, (size_t)size);
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

static const sqlite3_mem_methods heap_methods = {
	.xMalloc = heap_malloc,
	.xFree = heap_free,
	.xRealloc = heap_realloc,
	.xSize = heap_size,
	.xRoundup = heap_roundup,
	.xInit = heap_init,
	.xShutdown = heap_shutdown,
};

static void must(int result, const char *what)
{
	if (result == SQLITE_OK)
		return;
	fprintf(stderr, "%s: %s\n", what, sqlite3_errstr(result));
	_exit(1);
}

static void configure(const struct run *run)
{
	struct t_place cache;
	int header;

	arena.place = run->heap ? run->heap_place(run->heap, HEAP) : t_place_plain(HEAP);
	cache = run->pages ? t_place_ram(run->pages, PAGE_ROOM) : t_place_plain(PAGE_ROOM);
	must(sqlite3_config(SQLITE_CONFIG_MALLOC, &heap_methods), "malloc");
	must(sqlite3_config(SQLITE_CONFIG_PCACHE_HDRSZ, &header), "header size");
	must(sqlite3_config(SQLITE_CONFIG_PAGECACHE, cache.guest, (4096 + header + 63) & ~63,
	                    PAGES),
	     "page cache");
	must(sqlite3_initialize(), "initialize");
}

/* What is compared */

static void vsay(struct run *run, const char *format, va_list args)
{
	int n = vsnprintf(run->log + run->used, LOG - run->used, format, args);

	if (n < 0 || (size_t)n >= LOG - run->used)
		_exit(2);
	run->used += (size_t)n;
}

static void __attribute__((format(printf, 2, 3))) say(struct run *run, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsay(run, format, args);
	va_end(args);
}

static void say_column(struct run *run, sqlite3_stmt *s, int column)
{
	const unsigned char *byte = sqlite3_column_blob(s, column);
	int length = sqlite3_column_bytes(s, column);

	switch (sqlite3_column_type(s, column)) {
	case SQLITE_FLOAT: say(run, "%a", sqlite3_column_double(s, column)); break;
	case SQLITE_BLOB:
		for (int i = 0; i < length; i++)
			say(run, "%02x", byte[i]);
		break;
	case SQLITE_NULL: say(run, "NULL"); break;
	default: say(run, "%s", (const char *)sqlite3_column_text(s, column));
	}
}

static void say_rows(struct run *run, sqlite3 *db, sqlite3_stmt *s)
{
	int got;

	while ((got = sqlite3_step(s)) == SQLITE_ROW) {
		for (int i = 0; i < sqlite3_column_count(s); i++) {
			say(run, i ? "|" : "  ");
			say_column(run, s, i);
		}
		say(run, "\n");
	}
	if (got != SQLITE_DONE)
		say(run, "  error %d: %s\n", sqlite3_extended_errcode(db), sqlite3_errmsg(db));
	run->statements++;
}

/* One statement, logged with its rows or its error */
static void __attribute__((format(printf, 3, 4)))
sql(struct run *run, sqlite3 *db, const char *format, ...)
{
	sqlite3_stmt *s = NULL;
	char text[2048];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	say(run, "%s\n", text);
	if (sqlite3_prepare_v2(db, text, -1, &s, NULL))
		say(run, "  error: %s\n", sqlite3_errmsg(db));
	else
		say_rows(run, db, s);
	sqlite3_finalize(s);
}

static void say_image(struct run *run, sqlite3 *db)
{
	uint64_t hash = 0xcbf29ce484222325;
	sqlite3_int64 size = 0;
	unsigned char *image = sqlite3_serialize(db, "main", &size, 0);
	const unsigned char *byte = t_arena_host(&arena, image);

	for (sqlite3_int64 i = 0; i < size; i++)
		hash = (hash ^ byte[i]) * 0x100000001b3;
	say(run, "image %lld bytes, %016llx\n", (long long)size, (unsigned long long)hash);
	sqlite3_free(image);
}

/* The workload */

static void create(struct run *run, sqlite3 *db)
{
	sql(run, db, "PRAGMA temp_store=MEMORY");
	sql(run, db,
	    "CREATE TABLE chip(id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, mhz REAL)");
	sql(run, db,
	    "CREATE TABLE reg(id INTEGER PRIMARY KEY, chip INTEGER REFERENCES chip(id), "
	    "name TEXT COLLATE NOCASE, at INTEGER, width INTEGER CHECK(width IN(8,16,32)), "
	    "reset BLOB, doc TEXT DEFAULT 'none')");
	sql(run, db, "CREATE INDEX reg_at ON reg(chip, at)");
	sql(run, db, "CREATE INDEX reg_name ON reg(lower(name)) WHERE width = 32");
	sql(run, db,
	    "CREATE TABLE log(n INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT, key) STRICT");
	sql(run, db,
	    "CREATE TABLE log(n INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT, key ANY) STRICT");
	sql(run, db, "CREATE TABLE pair(a, b, PRIMARY KEY(b, a)) WITHOUT ROWID");
	sql(run, db,
	    "CREATE VIEW wide AS SELECT chip.name c, reg.* FROM reg JOIN chip ON "
	    "chip.id = reg.chip WHERE width = 32");
	sql(run, db,
	    "CREATE TRIGGER gone AFTER DELETE ON reg BEGIN "
	    "INSERT INTO log(what, key) VALUES('gone ' || old.name, old.reset); END");
}

static void insert_bound(struct run *run, sqlite3 *db, uint64_t *seed)
{
	static const char text[] =
		"INSERT INTO reg(chip,name,at,width,reset,doc) VALUES(?,?,?,?,?,?)";
	uint8_t blob[40];
	sqlite3_stmt *s;
	char name[32];

	must(sqlite3_prepare_v2(db, text, -1, &s, NULL), text);
	for (unsigned i = 0; i < 120; i++) {
		t_random_fill(seed, blob, sizeof(blob));
		snprintf(name, sizeof(name), "%s_%c%u", i % 3 ? "Ctl" : "stat", 'a' + i % 7, i);
		sqlite3_bind_int(s, 1, (int)(i % 5 + 1));
		sqlite3_bind_text(s, 2, name, -1, SQLITE_TRANSIENT);
		sqlite3_bind_int64(s, 3, 0x40000000 + (long long)(t_random(seed) % 1000) * 4);
		sqlite3_bind_int(s, 4, 8 << t_random(seed) % 3);
		sqlite3_bind_blob(s, 5, blob, (int)(t_random(seed) % 40), SQLITE_TRANSIENT);
		sqlite3_bind_null(s, 6);
		say_rows(run, db, s);
		sqlite3_reset(s);
	}
	sqlite3_finalize(s);
}

static void insert(struct run *run, sqlite3 *db, uint64_t *seed)
{
	sql(run, db, "BEGIN");
	for (unsigned i = 1; i <= 5; i++)
		sql(run, db, "INSERT INTO chip VALUES(%u, 'chip%u', %u.%u / 7)", i, i, i * 37, i);
	insert_bound(run, db, seed);
	sql(run, db, "COMMIT");
	for (unsigned i = 0; i < 40; i++)
		sql(run, db, "INSERT INTO pair VALUES(%u, '%x') RETURNING a * 3, b",
		    t_random(seed) % 8, t_random(seed) % 8);
	sql(run, db, "INSERT INTO chip VALUES(9, 'chip3', 1)");
	sql(run, db, "INSERT INTO chip VALUES(9, NULL, 1)");
	sql(run, db, "INSERT INTO reg(width) VALUES(12)");
	sql(run, db, "INSERT INTO log(what, key) VALUES(x'00', 1)");
	sql(run, db, "INSERT OR REPLACE INTO chip SELECT id, upper(name), mhz * 1.1 FROM chip");
	sql(run, db, "INSERT INTO chip VALUES(2, 'x', 0) ON CONFLICT DO UPDATE SET mhz = mhz + id");
}

static void update(struct run *run, sqlite3 *db, uint64_t *seed)
{
	for (unsigned i = 0; i < 30; i++) {
		unsigned id = t_random(seed) % 120 + 1;

		sql(run, db, "UPDATE reg SET at = at + %u, doc = hex(reset) WHERE id = %u", i, id);
		if (i % 4 == 0)
			sql(run, db, "UPDATE reg SET name = name || '_' || %u WHERE at %% 97 = %u",
			    i, i);
	}
	for (unsigned i = 0; i < 10; i++) {
		sql(run, db, "DELETE FROM reg WHERE id = %u", t_random(seed) % 120 + 1);
		sql(run, db, "DELETE FROM pair WHERE a = %u LIMIT 1", i);
	}
	sql(run, db, "UPDATE reg SET reset = zeroblob(9000) WHERE id = 7");
	sql(run, db, "UPDATE reg SET doc = printf('%%.*c', 5000, 'd') WHERE id = 8");
	sql(run, db, "SELECT length(reset), length(doc) FROM reg WHERE id IN (7, 8)");
	sql(run, db, "UPDATE pair SET b = b || a");
}

static void roll_back(struct run *run, sqlite3 *db)
{
	sql(run, db, "BEGIN IMMEDIATE");
	sql(run, db, "DELETE FROM reg WHERE width = 8");
	sql(run, db, "SAVEPOINT s");
	sql(run, db, "UPDATE reg SET at = -at");
	sql(run, db, "SELECT count(*), min(at), max(at) FROM reg");
	sql(run, db, "ROLLBACK TO s");
	sql(run, db, "SELECT count(*), min(at), max(at) FROM reg");
	sql(run, db, "ROLLBACK");
	sql(run, db, "SELECT count(*), min(at), max(at) FROM reg");
	sql(run, db, "ROLLBACK");
}

static void select_joins(struct run *run, sqlite3 *db)
{
	sql(run, db,
	    "SELECT c, count(*), sum(at), avg(at), group_concat(name, '/') FROM wide GROUP BY 1");
	sql(run, db,
	    "SELECT a.name, b.name FROM reg a JOIN reg b ON a.at = b.at AND a.id < b.id "
	    "ORDER BY 1, 2");
	sql(run, db,
	    "SELECT chip.name, reg.name FROM chip LEFT JOIN reg ON reg.chip = chip.id AND "
	    "reg.at %% 5 = 0 ORDER BY 1 DESC, 2 COLLATE BINARY");
	sql(run, db,
	    "SELECT a, b FROM pair UNION SELECT id, name FROM chip EXCEPT SELECT 1, 'CHIP1'");
	sql(run, db,
	    "WITH RECURSIVE f(n, a, b) AS (SELECT 1, 0, 1 UNION ALL SELECT n + 1, b, a + b "
	    "FROM f WHERE n < 60) SELECT n, a FROM f WHERE n %% 9 = 0");
	sql(run, db,
	    "SELECT id, row_number() OVER w, sum(at) OVER w, lag(name) OVER w FROM reg "
	    "WHERE id < 40 WINDOW w AS (PARTITION BY chip ORDER BY at) ORDER BY id");
	sql(run, db,
	    "SELECT DISTINCT width, typeof(reset), length(reset) > 20 FROM reg ORDER BY 1, 3");
	sql(run, db,
	    "SELECT name FROM reg WHERE chip = 3 AND at BETWEEN 0x40000100 AND 0x40000900");
	sql(run, db,
	    "SELECT count(*) FROM reg WHERE EXISTS (SELECT 1 FROM pair WHERE a = reg.chip)");
	sql(run, db,
	    "EXPLAIN QUERY PLAN SELECT * FROM reg WHERE lower(name) = 'ctl_b1' AND width = 32");
}

static void select_functions(struct run *run, sqlite3 *db)
{
	sql(run, db,
	    "SELECT upper(name), substr(name, 2, 3), instr(name, '_'), hex(substr(reset, 1, 4)), "
	    "quote(doc), replace(name, 'Ctl', 'x'), trim(name, 'stC') FROM reg WHERE id < 20 "
	    "AND id <> 7");
	sql(run, db,
	    "SELECT name FROM reg WHERE name LIKE 'c%%\\_a%%' ESCAPE '\\' OR name GLOB '*_[fg]?'");
	sql(run, db,
	    "SELECT printf('%%08.3f %%e %%,d %%s %%Q', 355.0/113, 1e-300, 123456789, 'x', 'y''')");
	sql(run, db,
	    "SELECT sqrt(2), pow(2, 0.5), sin(1), ln(10), atan2(1, -1), round(2.567, 2), 1e308*10");
	sql(run, db,
	    "SELECT date(0, 'unixepoch', '+3 months'), strftime('%%J %%j %%W', 1e9, 'unixepoch')");
	sql(run, db,
	    "SELECT 9223372036854775807 + 1, -7 / 2, -7 %% 3, 1 << 62, ~5, '12ab' + 1, 7 / 0");
	sql(run, db,
	    "SELECT json_extract('{\"a\":[1,2.5,{\"b\":\"\\u00e9\"}]}', '$.a[2].b'), "
	    "json_group_array(id) FROM chip");
	sql(run, db, "SELECT soundex('Robert'), unicode('\xc3\xa9'), char(8364), hex('ABC')");
	sql(run, db, "SELECT CAST(x'3132' AS INTEGER), CAST('1e3' AS REAL), 0.1 + 0.2, 1.0 / 3");
}

/* Virtual tables: an R-tree of floats, full-text search */
static void select_virtual(struct run *run, sqlite3 *db, uint64_t *seed)
{
	sql(run, db, "CREATE VIRTUAL TABLE area USING rtree(id, x0, x1)");
	for (unsigned i = 0; i < 40; i++) {
		unsigned x = t_random(seed) % 1000;

		sql(run, db, "INSERT INTO area VALUES(%u, %u.25, %u.5)", i, x, x + i);
	}
	sql(run, db, "SELECT * FROM area WHERE x0 < 600 AND x1 > 400 ORDER BY id");
	sql(run, db, "CREATE VIRTUAL TABLE words USING fts5(t)");
	sql(run, db, "INSERT INTO words SELECT replace(name, '_', ' ') FROM reg WHERE id < 30");
	sql(run, db,
	    "SELECT rowid, t, bm25(words) FROM words WHERE words MATCH 'ctl NOT b*' ORDER BY 1");
}

static void finish(struct run *run, sqlite3 *db)
{
	sql(run, db, "ALTER TABLE reg ADD COLUMN note TEXT DEFAULT 'late'");
	sql(run, db, "ALTER TABLE chip RENAME COLUMN mhz TO megahertz");
	sql(run, db, "REINDEX");
	sql(run, db, "ANALYZE");
	sql(run, db, "SELECT * FROM sqlite_stat1 ORDER BY 1, 2");
	sql(run, db, "SELECT * FROM log");
	sql(run, db, "PRAGMA integrity_check");
	sql(run, db, "VACUUM");
	sql(run, db, "PRAGMA integrity_check");
	sql(run, db, "SELECT * FROM reg WHERE id NOT IN (7, 8) ORDER BY name, id LIMIT 50");
	say_image(run, db);
}

static bool is_patched(void)
{
	struct regmap_patch_stats stats = {.size = sizeof(stats)};

	return !regmap_patch_stats(&stats) && stats.patched > 3000;
}

static int work(void *arg)
{
	struct run *run = arg;
	uint64_t seed = 2026;
	sqlite3 *db;

	alarm(PATIENCE);
	if (run->threshold && regmap_patch(run->threshold))
		return 5;
	configure(run);
	must(sqlite3_open(":memory:", &db), "open");
	create(run, db);
	insert(run, db, &seed);
	update(run, db, &seed);
	roll_back(run, db);
	select_joins(run, db);
	select_functions(run, db);
	select_virtual(run, db, &seed);
	finish(run, db);
	must(sqlite3_close(db), "close");
	must(sqlite3_shutdown(), "shutdown");
	if (arena.live)
		return 3;
	return run->threshold && !is_patched() ? 4 : 0;
}

static struct run *start(struct run with)
{
	struct run *run = t_shared(sizeof(*run));
	struct t_child child;

	run->heap_place = with.heap_place;
	run->heap = with.heap;
	run->pages = with.pages;
	run->threshold = with.threshold;
	t_child_run(&child, work, run);
	if (t_fate(child.status))
		fail_msg("the child's fate is %d: %s%.300s", t_fate(child.status), child.text,
		         run->used > 300 ? run->log + run->used - 300 : run->log);
	return run;
}

static struct run *expected;

static int run_plain(void **state)
{
	(void)state;
	expected = start((struct run){0});
	return 0;
}

static void assert_same(const struct run *run)
{
	const char *a = expected->log, *b = run->log;

	while (*a && *a == *b)
		a++, b++;
	if (*a || *b)
		fail_msg("from byte %zu on, expected:\n%.400s\nbut got:\n%.400s",
		         (size_t)(a - expected->log), a, b);
	assert_int_equal(run->statements, expected->statements);
}

/* The plain run is one that did what it should. */
static void test_sqlite_workload(void **state)
{
	const char *check = "PRAGMA integrity_check\n  ok\n", *first = strstr(expected->log, check);

	(void)state;
	assert_non_null(first);
	assert_non_null(strstr(first + 1, check));
	assert_non_null(strstr(expected->log, "UNIQUE constraint failed: chip.name"));
	assert_true(expected->statements > 300);
	print_message("%u statements, %zu bytes of rows\n", expected->statements, expected->used);
}

static void test_sqlite_heap_in_kernel_half(void **state)
{
	(void)state;
	assert_same(start((struct run){
		.heap_place = t_place_host,
		.heap = 0xffff880000000000,
		.pages = 0xfffffffff0000000,
	}));
}

static void test_sqlite_heap_at_low_addresses(void **state)
{
	(void)state;
	assert_same(start((struct run){
		.heap_place = t_place_ram,
		.heap = 0x40000000,
		.pages = 0x60000000,
	}));
}

static void patched(unsigned threshold)
{
	if (regmap_patch(1))
		skip();
	assert_int_equal(regmap_patch(0), 0);
	assert_same(start((struct run){
		.heap_place = t_place_host,
		.heap = 0xffff880000000000,
		.pages = 0xfffffffff0000000,
		.threshold = threshold,
	}));
	assert_same(start((struct run){
		.heap_place = t_place_ram,
		.heap = 0x40000000,
		.pages = 0x60000000,
		.threshold = threshold,
	}));
}

static void test_sqlite_patched_after_4_faults(void **state)
{
	(void)state;
	patched(4);
}

static void test_sqlite_patched_at_the_first_fault(void **state)
{
	(void)state;
	patched(1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sqlite_workload),
		cmocka_unit_test(test_sqlite_heap_in_kernel_half),
		cmocka_unit_test(test_sqlite_heap_at_low_addresses),
		cmocka_unit_test(test_sqlite_patched_after_4_faults),
		cmocka_unit_test(test_sqlite_patched_at_the_first_fault),
	};

	if (t_mode_is("asan") || t_mode_is("tsan"))
		return 77;
	return cmocka_run_group_tests_name("sqlite", tests, run_plain, NULL);
}
