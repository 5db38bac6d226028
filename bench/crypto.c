/* SPDX-License-Identifier: MIT */
/* OPTIONAL: openssl/evp.h -lcrypto */
/* libcrypto with contexts, keys, inputs and outputs in trapped windows. */
#include <stdlib.h>
#include <string.h>

#include "library.h"

#if __has_include(<openssl/evp.h>) && !defined(BENCH_BARE)
#include <openssl/crypto.h>
#include <openssl/evp.h>

enum { TEXT = 4096, KEY = 32, IV = 16 };

static bool inside;
static EVP_CIPHER *ciphers[3];
static EVP_MD *digests[3];
static const char *const cipher_names[] = {"AES-128-CBC", "AES-256-GCM", "ChaCha20"};
static const char *const digest_names[] = {"SHA256", "SHA512", "SHA3-256"};

static void *heap_malloc(size_t size, const char *file, int line)
{
	(void)file, (void)line;
	return inside ? t_arena_alloc(&bench_window_heap, size) : malloc(size);
}

static void heap_free(void *block, const char *file, int line)
{
	(void)file, (void)line;
	if (t_arena_owns(&bench_window_heap, block))
		t_arena_free(&bench_window_heap, block);
	else
		free(block);
}

static void *heap_realloc(void *block, size_t size, const char *file, int line)
{
	if (!block)
		return heap_malloc(size, file, line);
	return t_arena_owns(&bench_window_heap, block) ?
	               t_arena_realloc(&bench_window_heap, block, size) :
	               realloc(block, size);
}

static void must(int ok, const char *what)
{
	if (ok != 1)
		bench_fail("libcrypto: %s", what);
}

struct desk {
	uint8_t *key, *iv, *in, *out;
};

static void encrypt(const EVP_CIPHER *cipher, const struct desk *at)
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int n, last;

	must(EVP_EncryptInit_ex(c, cipher, NULL, at->key, at->iv), "EVP_EncryptInit_ex()");
	EVP_CIPHER_CTX_set_padding(c, 0);
	must(EVP_EncryptUpdate(c, at->out, &n, at->in, TEXT), "EVP_EncryptUpdate()");
	must(EVP_EncryptFinal_ex(c, at->out + n, &last), "EVP_EncryptFinal_ex()");
	EVP_CIPHER_CTX_free(c);
}

static void digest(const EVP_MD *md, const struct desk *at)
{
	EVP_MD_CTX *c = EVP_MD_CTX_new();

	must(EVP_DigestInit_ex(c, md, NULL), "EVP_DigestInit_ex()");
	must(EVP_DigestUpdate(c, at->out, TEXT), "EVP_DigestUpdate()");
	must(EVP_DigestFinal_ex(c, at->in, NULL), "EVP_DigestFinal_ex()");
	EVP_MD_CTX_free(c);
}

static uint64_t hash(const uint8_t *bytes, size_t length)
{
	uint64_t sum = 0xcbf29ce484222325;

	while (length--)
		sum = (sum ^ *bytes++) * 0x100000001b3;
	return sum;
}

static uint64_t work(bool in_windows)
{
	struct t_arena *heap = in_windows ? &bench_window_heap : &bench_plain_heap;
	struct desk at = {t_arena_alloc(heap, KEY), t_arena_alloc(heap, IV),
	                  t_arena_alloc(heap, TEXT + 64), t_arena_alloc(heap, TEXT + 64)};
	uint64_t sum;

	memset(t_arena_host(heap, at.key), 0x6b, KEY);
	memset(t_arena_host(heap, at.iv), 0x1f, IV);
	memset(t_arena_host(heap, at.in), 0x5c, TEXT + 64);
	inside = in_windows;
	for (unsigned i = 0; i < 3; i++) {
		encrypt(ciphers[i], &at);
		digest(digests[i], &at);
	}
	inside = false;
	sum = hash(t_arena_host(heap, at.out), TEXT) ^ hash(t_arena_host(heap, at.in), TEXT);
	t_arena_free(heap, at.key);
	t_arena_free(heap, at.iv);
	t_arena_free(heap, at.in);
	t_arena_free(heap, at.out);
	bench_library_clear(heap);
	return sum;
}

static const char *set_up(void)
{
	bench_library_set_up();
	must(CRYPTO_set_mem_functions(heap_malloc, heap_realloc, heap_free), "its heap");
	for (unsigned i = 0; i < 3; i++) {
		ciphers[i] = EVP_CIPHER_fetch(NULL, cipher_names[i], NULL);
		digests[i] = EVP_MD_fetch(NULL, digest_names[i], NULL);
		must(ciphers[i] && digests[i], "its algorithms");
	}
	work(false); /* what it allocates once */
	return NULL;
}
#else
static uint64_t work(bool in_windows)
{
	return in_windows;
}

static const char *set_up(void)
{
	return "not there: apt-get install libssl-dev";
}
#endif

static const struct bench_library library = {"libcrypto", work, 8000};

static struct bench_row rows[] = {BENCH_LIBRARY_ROWS("crypto", "libcrypto", library)};

struct bench_part bench_crypto = {.set_up = set_up, .rows = rows, .count = BENCH_COUNT(rows)};
