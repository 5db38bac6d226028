/* SPDX-License-Identifier: MIT */
/* Until there is more: the call part goes to the original. */
#include "patch.h"

#include "sigsafe.h"

void regmap__patch_request(struct slot_request *request)
{
	request->inline_access = false;
}

__asm__(".globl regmap__slot_call\n.hidden regmap__slot_call\nregmap__slot_call:\n"
        "push %rax\npush %rcx\nmov 16(%rsp), %rax\nmovslq -4(%rax), %rcx\n"
        "lea (%rax,%rcx), %rax\nmov 40(%rax), %rax\nmov %rax, 16(%rsp)\npop %rcx\npop %rax\nret $128\n");

__attribute__((weak)) bool regmap__slot_in_place(const struct plan *plan, uint8_t to[15])
{
	(void)plan;
	(void)to;
	return false;
}
