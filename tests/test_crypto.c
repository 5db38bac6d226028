/* SPDX-License-Identifier: MIT */
/* LDLIBS: -lcrypto */
/*
 * libcrypto with keys, IVs, inputs, outputs and contexts in trapped windows: known answers, and the
 * same bytes as on plain memory. Each of its code paths (AVX-512, AVX2, AES-NI, SHA-NI ... down to
 * plain integer code) is taken in a process of its own, by masking CPU features with
 * OPENSSL_ia32cap.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <regmap/regmap.h>

#include "arena.h"
#include "child.h"

enum { ROOM = 32 << 10, HEAP = 16 << 20, MARGIN = 96, PAIR = 1024, PATIENCE = 120 };

/* What is computed, with a known answer in hexadecimal */

enum kind { CIPHER, AEAD, DIGEST, MAC, SIGNATURE };

struct op {
	const char *name;
	enum kind kind;
	const char *key, *iv, *aad, *in, *out, *tag;
	const char *inner;       /* MAC: its digest or cipher */
	unsigned pieces, rounds; /* at most so many calls for the input */
	size_t shortest;
};

#define COUNT16 "000102030405060708090a0b0c0d0e0f"
#define ABC "616263"
#define SP38A_KEY "2b7e151628aed2a6abf7158809cf4f3c"
#define SP38A_TEXT \
	"6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51" \
	"30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
#define ONES "11111111111111111111111111111111"
#define TWOS "22222222222222222222222222222222"
#define FOURS "44444444444444444444444444444444"

static const struct op ops[] = {
	/* FIPS 197, C.1 and C.3 */
	{.name = "AES-128-ECB",
         .kind = CIPHER,
         .key = COUNT16,
         .in = "00112233445566778899aabbccddeeff",
         .out = "69c4e0d86a7b0430d8cdb78070b4c55a",
         .pieces = 5,
         .rounds = 8},
	{.name = "AES-256-ECB",
         .kind = CIPHER,
         .key = COUNT16 "101112131415161718191a1b1c1d1e1f",
         .in = "00112233445566778899aabbccddeeff",
         .out = "8ea2b7ca516745bfeafc49904b496089",
         .pieces = 5,
         .rounds = 8},
	/* SP 800-38A, F.2.1, F.3.13 and F.5.1 */
	{.name = "AES-128-CBC",
         .kind = CIPHER,
         .key = SP38A_KEY,
         .iv = COUNT16,
         .in = SP38A_TEXT,
         .out = "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2"
                "73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7",
         .pieces = 5,
         .rounds = 12},
	{.name = "AES-128-CFB",
         .kind = CIPHER,
         .key = SP38A_KEY,
         .iv = COUNT16,
         .in = SP38A_TEXT,
         .out = "3b3fd92eb72dad20333449f8e83cfb4ac8a64537a0b3a93fcde3cdad9f1ce58b"
                "26751f67a3cbb140b1808cf187a4f4dfc04b05357c5d1c0eeac4c66f9ff7f2e6",
         .pieces = 5,
         .rounds = 4},
	{.name = "AES-128-CTR",
         .kind = CIPHER,
         .key = SP38A_KEY,
         .iv = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
         .in = SP38A_TEXT,
         .out = "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff"
                "5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee",
         .pieces = 5,
         .rounds = 12},
	/* IEEE 1619, vector 2 */
	{.name = "AES-128-XTS",
         .kind = CIPHER,
         .key = ONES TWOS,
         .iv = "33333333330000000000000000000000",
         .in = FOURS FOURS,
         .out = "c454185e6a16936e39334038acef838bfb186fff7480adc4289382ecd6d394f0",
         .pieces = 1,
         .rounds = 12,
         .shortest = 16},
	/* RFC 8439, 2.4.2: the first half of the IV is the counter */
	{.name = "ChaCha20",
         .kind = CIPHER,
         .key = COUNT16 "101112131415161718191a1b1c1d1e1f",
         .iv = "01000000000000000000004a00000000",
         .in = "4c616469657320616e642047656e746c656d656e206f662074686520636c617373",
         .out = "6e2e359a2568f98041ba0728dd0d6981e97e7aec1d4360c20a27afccfd9fae0bf9",
         .pieces = 5,
         .rounds = 12},
	/* McGrew and Viega, test case 4 */
	{.name = "AES-128-GCM",
         .kind = AEAD,
         .key = "feffe9928665731c6d6a8f9467308308",
         .iv = "cafebabefacedbaddecaf888",
         .aad = "feedfacedeadbeeffeedfacedeadbeefabaddad2",
         .in = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95"
               "956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
         .out = "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b2"
                "5466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
         .tag = "5bc94fbc3221a5db94fae95ae7121a47",
         .pieces = 5,
         .rounds = 16},
	/* Test case 14 */
	{.name = "AES-256-GCM",
         .kind = AEAD,
         .key = "0000000000000000000000000000000000000000000000000000000000000000",
         .iv = "000000000000000000000000",
         .aad = "",
         .in = "00000000000000000000000000000000",
         .out = "cea7403d4d606b6e074ec5d3baf39d18",
         .tag = "d0d1c8a799996bf0265b98b5d48ab919",
         .pieces = 5,
         .rounds = 16},
	/* SP 800-38C, example 1 */
	{.name = "AES-128-CCM",
         .kind = AEAD,
         .key = "404142434445464748494a4b4c4d4e4f",
         .iv = "10111213141516",
         .aad = "0001020304050607",
         .in = "20212223",
         .out = "7162015b",
         .tag = "4dac255d",
         .pieces = 1,
         .rounds = 6},
	/* RFC 8439, 2.8.2 */
	{.name = "ChaCha20-Poly1305",
         .kind = AEAD,
         .key = "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
         .iv = "070000004041424344454647",
         .aad = "50515253c0c1c2c3c4c5c6c7",
         .in = "4c616469657320616e642047656e746c656d656e206f662074686520636c617373206f662027"
               "39393a204966204920636f756c64206f6666657220796f75206f6e6c79206f6e652074697020"
               "666f7220746865206675747572652c2073756e73637265656e20776f756c642062652069742e",
         .out = "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9"
                "671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee3"
                "28091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b6116",
         .tag = "1ae10b594f09e26a7e902ecbd0600691",
         .pieces = 5,
         .rounds = 16},
	/* FIPS 180-4, FIPS 202, RFC 7693, RFC 1321: "abc" */
	{.name = "SHA1",
         .kind = DIGEST,
         .in = ABC,
         .out = "a9993e364706816aba3e25717850c26c9cd0d89d",
         .pieces = 5,
         .rounds = 12},
	{.name = "SHA256",
         .kind = DIGEST,
         .in = ABC,
         .out = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
         .pieces = 5,
         .rounds = 12},
	{.name = "SHA512",
         .kind = DIGEST,
         .in = ABC,
         .out = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
                "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
         .pieces = 5,
         .rounds = 12},
	{.name = "SHA3-256",
         .kind = DIGEST,
         .in = ABC,
         .out = "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532",
         .pieces = 5,
         .rounds = 8},
	{.name = "BLAKE2b512",
         .kind = DIGEST,
         .in = ABC,
         .out = "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1"
                "7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923",
         .pieces = 5,
         .rounds = 4},
	{.name = "BLAKE2s256",
         .kind = DIGEST,
         .in = ABC,
         .out = "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982",
         .pieces = 5,
         .rounds = 4},
	{.name = "MD5",
         .kind = DIGEST,
         .in = ABC,
         .out = "900150983cd24fb0d6963f7d28e17f72",
         .pieces = 5,
         .rounds = 4},
	/* RFC 4231, test case 2 */
	{.name = "HMAC",
         .kind = MAC,
         .inner = "SHA256",
         .key = "4a656665",
         .in = "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
         .out = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
         .pieces = 5,
         .rounds = 6},
	/* RFC 4493, example 2 */
	{.name = "CMAC",
         .kind = MAC,
         .inner = "AES-128-CBC",
         .key = SP38A_KEY,
         .in = "6bc1bee22e409f96e93d7e117393172a",
         .out = "070a16b46b4d4144f79bdd9dd04a287c",
         .pieces = 5,
         .rounds = 6},
	/* GHASH alone: test case 1 of McGrew and Viega */
	{.name = "GMAC",
         .kind = MAC,
         .inner = "AES-128-GCM",
         .key = "00000000000000000000000000000000",
         .iv = "000000000000000000000000",
         .in = "",
         .out = "58e2fccefa7e3061367f1d57a4e7455a",
         .pieces = 5,
         .rounds = 12},
	/* RFC 8439, 2.5.2 */
	{.name = "Poly1305",
         .kind = MAC,
         .key = "85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b",
         .in = "43727970746f6772617068696320466f72756d2052657365617263682047726f7570",
         .out = "a8061dc1305136c6c22b8baf0c0127a9",
         .pieces = 5,
         .rounds = 12},
	/* RFC 8032, 7.1, test 2 */
	{.name = "ED25519",
         .kind = SIGNATURE,
         .key = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
         .in = "72",
         .out = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
                "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
         .pieces = 1,
         .rounds = 1},
};

enum { OPS = sizeof(ops) / sizeof(*ops) };

/* libcrypto's heap: in a window while one of the computations runs there */

static struct t_arena arena;
static bool in_window;

static void *heap_malloc(size_t size, const char *file, int line)
{
	(void)file, (void)line;
	return in_window ? t_arena_alloc(&arena, size) : malloc(size);
}

static void heap_free(void *block, const char *file, int line)
{
	(void)file, (void)line;
	if (t_arena_owns(&arena, block))
		t_arena_free(&arena, block);
	else
		free(block);
}

static void *heap_realloc(void *block, size_t size, const char *file, int line)
{
	if (!block)
		return heap_malloc(size, file, line);
	return t_arena_owns(&arena, block) ? t_arena_realloc(&arena, block, size) :
	                                     realloc(block, size);
}

/* Where a computation works */
struct desk {
	struct t_place key, iv, aad, in, out, back;
};

static struct desk plain, window;

static void lay_desks(void)
{
	struct t_place *to = &plain.key;

	for (unsigned i = 0; i < sizeof(plain) / sizeof(*to); i++)
		to[i] = t_place_plain(ROOM);
	window.key = t_place_host(0xffff880000000000, ROOM);
	window.iv = t_place_ram(0x4444000000000000, ROOM);
	window.aad = t_place_host(0x40000000, ROOM);
	window.in = t_place_edge(0x41000000, ROOM);
	window.out = t_place_edge(0x42000000, ROOM);
	window.back = t_place_ram(0xfffffffff0000000, ROOM);
	arena.place = t_place_host(0xffff890000000000, HEAP);
}

/* One computation. Sizes are bytes, _at offsets in the places. */
struct task {
	const struct op *op;
	size_t key, iv, aad, in, tag, out;
	size_t key_at, iv_at, aad_at, in_at, out_at, back_at;
	unsigned pieces;
	bool in_place; /* decrypt into the input */
};

static const char *where = "";

static void __attribute__((format(printf, 2, 3), noreturn))
die(const struct task *t, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fprintf(stderr, "%s (%s), %zu bytes at %zu to %zu, %zu of AAD: ", t->op->name, where, t->in,
	        t->in_at, t->out_at, t->aad);
	vfprintf(stderr, format, args);
	fprintf(stderr, "\n");
	va_end(args);
	_exit(1);
}

static void must(const struct task *t, bool ok, const char *what)
{
	if (!ok)
		die(t, "%s failed", what);
}

/* Bytes of the @i-th of n pieces, odd ones but for the last */
static size_t piece(const struct task *t, unsigned i, size_t left)
{
	size_t some = (t->in / t->pieces) | 1;

	return i + 1 == t->pieces || some > left ? left : some;
}

/* Ciphers */

static EVP_CIPHER *cipher_of[OPS];
static EVP_MD *digest_of[OPS];
static EVP_MAC *mac_of[OPS];

static bool is(const struct task *t, const char *mode)
{
	return strstr(t->op->name, mode);
}

static void set_tag(const struct task *t, EVP_CIPHER_CTX *c, uint8_t *tag)
{
	must(t, EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, (int)t->tag, tag), "set tag");
}

static EVP_CIPHER_CTX *start_cipher(const struct task *t, struct desk *d, bool encrypt,
                                    uint8_t *tag)
{
	uint8_t *key = d->key.guest + t->key_at, *iv = t->iv ? d->iv.guest + t->iv_at : NULL;
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int n;

	must(t, c, "new");
	must(t, EVP_CipherInit_ex2(c, cipher_of[t->op - ops], NULL, NULL, encrypt, NULL), "init");
	if (t->tag && (!encrypt || is(t, "CCM")))
		set_tag(t, c, encrypt ? NULL : tag);
	must(t, EVP_CipherInit_ex2(c, NULL, key, iv, encrypt, NULL), "key");
	if (is(t, "CCM"))
		must(t, EVP_CipherUpdate(c, NULL, &n, NULL, (int)t->in), "length");
	if (t->aad)
		must(t, EVP_CipherUpdate(c, NULL, &n, d->aad.guest + t->aad_at, (int)t->aad),
		     "AAD");
	return c;
}

/* Returns how many bytes it wrote at @to. */
static size_t cipher(const struct task *t, struct desk *d, bool encrypt, uint8_t *from, size_t size,
                     uint8_t *to, uint8_t *tag)
{
	EVP_CIPHER_CTX *c = start_cipher(t, d, encrypt, tag);
	size_t done = 0, fed = 0, some;
	int n;

	for (unsigned i = 0; i < t->pieces; i++, fed += some) {
		some = piece(t, i, size - fed);
		must(t, EVP_CipherUpdate(c, to + done, &n, from + fed, (int)some), "update");
		done += (size_t)n;
	}
	must(t, EVP_CipherFinal_ex(c, to + done, &n), "final");
	done += (size_t)n;
	if (t->tag && encrypt)
		must(t, EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, (int)t->tag, tag), "get tag");
	EVP_CIPHER_CTX_free(c);
	return done;
}

/* There and back; the tag lies behind the output. */
static size_t run_cipher(const struct task *t, struct desk *d)
{
	struct t_place *last = t->in_place ? &d->out : &d->back;
	size_t last_at = t->in_place ? t->out_at : t->back_at;
	uint8_t *in = d->in.guest + t->in_at, *out = d->out.guest + t->out_at;
	uint8_t *tag = d->in.guest + t->in_at + t->in, saved[ROOM / 2];
	size_t size = cipher(t, d, true, in, t->in, out, tag), back;

	memcpy(saved, d->out.host + t->out_at, size);
	back = cipher(t, d, false, out, size, last->guest + last_at, tag);
	if (back != t->in || memcmp(last->host + last_at, d->in.host + t->in_at, back))
		die(t, "decrypted %zu bytes, not the input", back);
	memcpy(d->out.host + t->out_at, saved, size);
	memcpy(d->out.host + t->out_at + size, d->in.host + t->in_at + t->in, t->tag);
	return size + t->tag;
}

/* The rest */

static size_t run_digest(const struct task *t, struct desk *d)
{
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	size_t fed = 0, some;
	unsigned n;

	must(t, c && EVP_DigestInit_ex2(c, digest_of[t->op - ops], NULL), "init");
	for (unsigned i = 0; i < t->pieces; i++, fed += some) {
		some = piece(t, i, t->in - fed);
		must(t, EVP_DigestUpdate(c, d->in.guest + t->in_at + fed, some), "update");
	}
	must(t, EVP_DigestFinal_ex(c, d->out.guest + t->out_at, &n), "final");
	EVP_MD_CTX_free(c);
	return n;
}

static void set_params(const struct task *t, struct desk *d, OSSL_PARAM *p)
{
	const char *kind = is(t, "HMAC") ? OSSL_MAC_PARAM_DIGEST : OSSL_MAC_PARAM_CIPHER;

	if (t->op->inner)
		*p++ = OSSL_PARAM_construct_utf8_string(kind, (char *)(uintptr_t)t->op->inner, 0);
	if (t->iv)
		*p++ = OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_IV, d->iv.guest + t->iv_at,
		                                         t->iv);
	*p = OSSL_PARAM_construct_end();
}

static size_t run_mac(const struct task *t, struct desk *d)
{
	EVP_MAC_CTX *c = EVP_MAC_CTX_new(mac_of[t->op - ops]);
	size_t fed = 0, some, n;
	OSSL_PARAM params[3];

	set_params(t, d, params);
	must(t, c && EVP_MAC_init(c, d->key.guest + t->key_at, t->key, params), "init");
	for (unsigned i = 0; i < t->pieces; i++, fed += some) {
		some = piece(t, i, t->in - fed);
		must(t, EVP_MAC_update(c, d->in.guest + t->in_at + fed, some), "update");
	}
	must(t, EVP_MAC_final(c, d->out.guest + t->out_at, &n, 64), "final");
	EVP_MAC_CTX_free(c);
	return n;
}

static size_t run_signature(const struct task *t, struct desk *d)
{
	uint8_t *in = d->in.guest + t->in_at, *out = d->out.guest + t->out_at;
	EVP_MD_CTX *c = EVP_MD_CTX_new(), *v = EVP_MD_CTX_new();
	size_t size = 64;
	EVP_PKEY *k = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, d->key.guest + t->key_at,
	                                           32);

	must(t, c && v && k && EVP_DigestSignInit(c, NULL, NULL, NULL, k), "init");
	must(t, EVP_DigestSign(c, out, &size, in, t->in), "sign");
	must(t, EVP_DigestVerifyInit(v, NULL, NULL, NULL, k), "init");
	must(t, EVP_DigestVerify(v, out, size, in, t->in) == 1, "verify");
	EVP_MD_CTX_free(c);
	EVP_MD_CTX_free(v);
	EVP_PKEY_free(k);
	return size;
}

static size_t run(const struct task *t, struct desk *d)
{
	size_t size;

	in_window = d == &window;
	where = in_window ? "windows" : "plain memory";
	switch (t->op->kind) {
	case DIGEST: size = run_digest(t, d); break;
	case MAC: size = run_mac(t, d); break;
	case SIGNATURE: size = run_signature(t, d); break;
	default: size = run_cipher(t, d);
	}
	in_window = false;
	return size;
}

/* Known answers */

static size_t unhex(const char *hex, uint8_t *to)
{
	size_t n = hex ? strlen(hex) / 2 : 0;

	for (size_t i = 0; i < n; i++)
		if (sscanf(hex + 2 * i, "%2hhx", &to[i]) != 1)
			abort();
	return n;
}

static void know(const struct op *op, struct desk *d)
{
	struct task t = {.op = op, .pieces = 1, .in_at = ROOM / 2 - 3, .out_at = ROOM / 2 - 5};
	uint8_t expected[256];
	size_t size;

	t.key = unhex(op->key, d->key.host);
	t.iv = unhex(op->iv, d->iv.host);
	t.aad = unhex(op->aad, d->aad.host);
	t.in = unhex(op->in, d->in.host + t.in_at);
	t.tag = op->tag ? strlen(op->tag) / 2 : 0;
	t.out = unhex(op->out, expected);
	run(&t, d);
	if (memcmp(d->out.host + t.out_at, expected, t.out))
		die(&t, "not the known answer");
	size = unhex(op->tag, expected);
	if (memcmp(d->out.host + t.out_at + t.out, expected, size))
		die(&t, "not the known tag");
}

/* Comparison with plain memory */

static uint64_t seed = 7;

static size_t below(size_t n)
{
	return t_random(&seed) % n;
}

static void plan(struct task *t, const struct op *op, unsigned i)
{
	*t = (struct task){.op = op, .pieces = 1 + i % op->pieces, .in_place = i % 3 == 1};
	t->key = op->key ? strlen(op->key) / 2 : 0;
	t->iv = op->iv ? strlen(op->iv) / 2 : 0;
	t->tag = op->tag ? strlen(op->tag) / 2 : 0;
	t->aad = op->aad ? below(80) : 0;
	t->in = op->shortest + (i % 4 == 3 ? below(2600) : below(400));
	t->key_at = below(64);
	t->iv_at = below(64);
	t->aad_at = ROOM - t->aad;
	t->back_at = below(64);
	/* Across the edge between window and plain memory, or anywhere */
	t->in_at = i % 2 ? ROOM / 2 - below(t->in + 1) : below(4096);
	t->out_at = i % 4 < 2 ? ROOM / 2 - below(t->in + 1) : below(4096);
}

static void fill_both(struct t_place *a, struct t_place *b)
{
	t_random_fill(&seed, a->host, ROOM);
	memcpy(b->host, a->host, ROOM);
}

static void compare(const struct op *op, unsigned i)
{
	size_t expected, got;
	struct task t;

	plan(&t, op, i);
	fill_both(&plain.key, &window.key);
	fill_both(&plain.iv, &window.iv);
	fill_both(&plain.aad, &window.aad);
	fill_both(&plain.in, &window.in);
	memset(plain.out.host, 0xa5, ROOM);
	memset(window.out.host, 0xa5, ROOM);
	expected = run(&t, &plain);
	got = run(&t, &window);
	if (expected != got)
		die(&t, "%zu bytes of output instead of %zu", got, expected);
	if (memcmp(plain.out.host, window.out.host, ROOM))
		die(&t, "other bytes than on plain memory");
	if (memcmp(plain.in.host, window.in.host, ROOM))
		die(&t, "other bytes around the input");
}

/* Big numbers: bytes to numbers and back, everything between them on the heap */

static BIGNUM *number(struct t_place *from, size_t at, size_t size, bool odd)
{
	from->host[at] |= 0x80;
	if (odd)
		from->host[at + size - 1] |= 1;
	return BN_bin2bn(from->guest + at, (int)size, NULL);
}

static void power(const struct task *t, struct desk *d, size_t size)
{
	BIGNUM *base = number(&d->in, 0, size, false),
	       *exponent = number(&d->in, 1000, size, false);
	BIGNUM *modulus = number(&d->in, 2000, size, true), *result = BN_new();
	BN_CTX *c = BN_CTX_new();

	must(t, BN_nnmod(base, base, modulus, c), "modulus");
	must(t, BN_mod_exp_mont_consttime(result, base, exponent, modulus, c, NULL), "power");
	must(t, BN_bn2binpad(result, d->out.guest + 1, (int)size) == (int)size, "result");
	BN_free(base);
	BN_free(exponent);
	BN_free(modulus);
	BN_free(result);
	BN_CTX_free(c);
}

/* Two powers at once, as RSA does: with AVX512-IFMA where there is some */
static void power_pair(const struct task *t, struct desk *d, size_t size)
{
	BIGNUM *n[6], *result[2] = {BN_new(), BN_new()};
	BN_CTX *c = BN_CTX_new();

	for (size_t i = 0; i < 6; i++)
		n[i] = number(&d->in, 6000 + 200 * i, size, i % 3 == 2);
	must(t, BN_nnmod(n[0], n[0], n[2], c) && BN_nnmod(n[3], n[3], n[5], c), "modulus");
	must(t,
	     BN_mod_exp_mont_consttime_x2(result[0], n[0], n[1], n[2], NULL, result[1], n[3], n[4],
	                                  n[5], NULL, c),
	     "powers");
	for (size_t i = 0; i < 2; i++)
		must(t,
		     BN_bn2binpad(result[i], d->out.guest + 2000 + 200 * i, (int)size) == (int)size,
		     "result");
	for (size_t i = 0; i < 6; i++)
		BN_free(n[i]);
	BN_free(result[0]);
	BN_free(result[1]);
	BN_CTX_free(c);
}

static void curve(const struct task *t, struct desk *d)
{
	EC_GROUP *g = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
	BIGNUM *a = number(&d->in, 3000, 31, false), *b = number(&d->in, 4000, 31, false);
	BN_CTX *c = BN_CTX_new();
	EC_POINT *p = EC_POINT_new(g);

	must(t, EC_POINT_mul(g, p, a, NULL, NULL, c), "a * generator");
	must(t, EC_POINT_mul(g, p, a, p, b, c), "a * generator + b * point");
	must(t,
	     EC_POINT_point2oct(g, p, POINT_CONVERSION_UNCOMPRESSED, d->out.guest + 1001, 65, c) ==
	             65,
	     "coordinates");
	EC_POINT_free(p);
	EC_GROUP_free(g);
	BN_free(a);
	BN_free(b);
	BN_CTX_free(c);
}

static void compute(const struct task *t, struct desk *d, size_t bits)
{
	in_window = d == &window;
	where = in_window ? "windows" : "plain memory";
	power(t, d, bits / 8);
	if (bits == PAIR)
		power_pair(t, d, bits / 8);
	curve(t, d);
	in_window = false;
}

static void compare_numbers(size_t bits)
{
	static const struct op op = {.name = "numbers"};
	struct task t = {.op = &op, .in = bits / 8};

	fill_both(&plain.in, &window.in);
	fill_both(&plain.out, &window.out);
	compute(&t, &plain, bits);
	compute(&t, &window, bits);
	if (memcmp(plain.out.host, window.out.host, ROOM))
		die(&t, "other numbers than on plain memory");
}

/* In a child process */

static void fetch(unsigned i)
{
	switch (ops[i].kind) {
	case DIGEST: digest_of[i] = EVP_MD_fetch(NULL, ops[i].name, NULL); break;
	case MAC: mac_of[i] = EVP_MAC_fetch(NULL, ops[i].name, NULL); break;
	case SIGNATURE: break;
	default: cipher_of[i] = EVP_CIPHER_fetch(NULL, ops[i].name, NULL);
	}
}

static bool is_patched(void)
{
	struct regmap_patch_stats stats = {.size = sizeof(stats)};

	return !regmap_patch_stats(&stats) && stats.patched > 300;
}

static int be_child(const char *depth, unsigned threshold)
{
	alarm(PATIENCE);
	if (threshold && regmap_patch(threshold)) {
		fprintf(stderr, "this kernel doesn't let code be patched");
		return 0;
	}
	if (!CRYPTO_set_mem_functions(heap_malloc, heap_realloc, heap_free))
		return 2;
	lay_desks();
	for (unsigned i = 0; i < OPS; i++) {
		fetch(i);
		know(&ops[i], &plain);
		know(&ops[i], &window);
		for (unsigned k = 0; k < 2 * ops[i].rounds; k++)
			compare(&ops[i], k);
	}
	/* 4 words, and two sizes with code of their own; the last takes seconds. */
	compare_numbers(256);
	compare_numbers(512);
	if (!strcmp(depth, "deep"))
		compare_numbers(PAIR);
	fprintf(stderr, "%s, %zu blocks of heap in the window",
	        OPENSSL_info(OPENSSL_INFO_CPU_SETTINGS), arena.peak);
	if (threshold && !is_patched())
		return 4;
	return arena.peak ? 0 : 3;
}

/* The tests: what is masked, CPUID leaf 1 (ECX:EDX) and leaf 7 (ECX:EBX) */

struct mask {
	const char *name, *value, *threshold;
};

static const struct mask masks[] = {
	{"everything", NULL},
	{"no AVX512-IFMA", ":~0x200000"},
	{"no AVX-512, VAES", ":~0x602dc230000"},
	{"no SHA-NI", ":~0x20000000"},
	{"no AVX2, BMI, ADX", ":~0x602dc2b0128"},
	{"no AVX2, SHA-NI", ":~0x602fc2b0128"},
	{"no AVX, XOP, SHA-NI", "~0x1000080000000000:~0x602fc2b0128"},
	{"no AVX, AES-NI, PCLMUL", "~0x1200080200000000:~0x602dc2b0128"},
	{"no AES-NI, SSSE3", "~0x12000a0200000000:~0x602fc2b0128"},
	{"everything, patched", NULL, "4"},
	{"everything, patched at the first fault", NULL, "1"},
	{"no AVX-512, VAES, patched", ":~0x602dc230000", "4"},
	{"no AVX, XOP, SHA-NI, patched", "~0x1000080000000000:~0x602fc2b0128", "1"},
	{"no AES-NI, SSSE3, patched", "~0x12000a0200000000:~0x602fc2b0128", "4"},
};

enum { MASKS = sizeof(masks) / sizeof(*masks) };

static int exec_masked(void *arg)
{
	const struct mask *mask = arg;

	unsetenv("OPENSSL_ia32cap");
	if (mask->value)
		setenv("OPENSSL_ia32cap", mask->value, 1);
	execl("/proc/self/exe", "test_crypto", mask->value ? "quick" : "deep",
	      mask->threshold ? mask->threshold : "0", (char *)NULL);
	return 127;
}

static void test_masked(void **state)
{
	struct t_child child;

	t_child_run(&child, exec_masked, *state);
	if (t_fate(child.status))
		fail_msg("fate %d: %.2000s", t_fate(child.status), child.text);
	print_message("%.400s\n", child.text);
}

static struct CMUnitTest tests[MASKS];

/* Address sanitizer's functions are to leave the C library's alone: a window has no shadow. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "replace_intrin=0:replace_str=0:intercept_strlen=0:intercept_memcmp=0:"
	       "intercept_memchr=0:intercept_strcmp=0:intercept_strstr=0";
}

int main(int argc, char **argv)
{
	size_t count = 0;

	if (argc > 2)
		return be_child(argv[1], (unsigned)strtoul(argv[2], NULL, 10));
	if (t_mode_is("tsan"))
		return 77;
	/* which instructions it is, is nothing to a sanitizer: every second one will do */
	for (unsigned i = 0; i < MASKS; i += t_mode_is("asan") ? 2 : 1)
		tests[count++] = (struct CMUnitTest){masks[i].name, test_masked, NULL, NULL,
		                                     (void *)&masks[i]};
	return _cmocka_run_group_tests("crypto", tests, count, NULL, NULL);
}
