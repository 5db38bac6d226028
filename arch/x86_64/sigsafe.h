/* SPDX-License-Identifier: MIT */
/*
 * Included last by each file that the signal handler can reach: what isn't async-signal-safe
 * doesn't compile there. (signal-safety(7); no TLS either, which no pragma can check: see trap.c.)
 */
#ifndef ARCH_X86_64_SIGSAFE_H
#define ARCH_X86_64_SIGSAFE_H

#pragma GCC poison malloc calloc realloc free aligned_alloc posix_memalign strdup strndup
#pragma GCC poison printf fprintf vprintf vfprintf dprintf sprintf snprintf vsprintf vsnprintf
#pragma GCC poison puts fputs fputc putchar fwrite fread fopen fclose fflush perror
#pragma GCC poison pthread_mutex_lock pthread_mutex_unlock pthread_rwlock_rdlock
#pragma GCC poison pthread_rwlock_wrlock pthread_cond_wait pthread_once pthread_create
#pragma GCC poison strerror strerror_r strsignal syslog getenv setenv exit atexit
#pragma GCC poison localtime gmtime strftime qsort backtrace backtrace_symbols

#endif
