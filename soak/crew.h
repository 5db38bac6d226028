/* SPDX-License-Identifier: MIT */
/* The threads, and what one needs to know of another. */
#ifndef SOAK_CREW_H
#define SOAK_CREW_H

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/types.h>
#include <time.h>

#include "gun.h"

enum role { UNUSED, PLAIN_STACK, OWN_STACK, NO_LIBC, BREEDER, SHORT_LIVED, MAPPER, FORKER, CHILD };

enum { CREW = 14, TLS_WORDS = 16 };

struct member {
	enum role role;
	_Atomic pid_t tid;
	pthread_t thread;
	struct gun *gun, *handler_gun; /* the latter is the timer's handler's */
	_Atomic uint64_t progress;
	uint64_t seen; /* of progress, by the handler */
	_Atomic uint64_t signals;
	sigjmp_buf escape;
	volatile bool may_escape;
	uint8_t *stack;
	uint64_t tls[TLS_WORDS]; /* NO_LIBC: where FS points to */
	_Atomic pid_t alive;     /* NO_LIBC: the kernel clears it */
};

extern struct member soak__crew[CREW];
extern struct gun soak__gun[2 * CREW];

extern atomic_bool soak__over;

struct tally {
	_Atomic uint64_t segv, maps, unmaps, gone, forks, vforks, clones, execs, threads;
	_Atomic uint64_t prof, strays;
};
extern struct tally soak__tally;

/* Handlers of SIGSEGV, SIGBUS, the timers. */
void soak__signals_init(void);
struct member *soak__self(void);
void soak__become(struct member *member);

void soak__crew_start(uint64_t seed);
void soak__crew_join(void);
/* Neither forker nor mapper: what a thread does all day. */
void soak__day(struct member *member, unsigned rounds);

/* wild.c: windows that come and go under others, callbacks that do what they like. */
void soak__wild_init(uint64_t seed);
void soak__wild(struct member *member);
/* Replace one of the windows that others use; the mapper's. */
void soak__wild_renew(struct random *random);
bool soak__wild_agrees(void);

/* mapper.c, fork.c */
void *soak__map_all_day(void *member);
void *soak__fork_all_day(void *member);
/* A process of its own, that this program started by exec. */
int soak__helper(uint64_t seed);

#endif
