/* SPDX-License-Identifier: MIT */
#ifndef SRC_THREAD_H
#define SRC_THREAD_H

/* Does nothing: who calls it gets pthread_create() and thrd_create() of ours linked in. */
void regmap__thread_link(void);

#endif
