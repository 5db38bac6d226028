/* SPDX-License-Identifier: MIT */
/* Code that comes and goes: loaded by so_patch. */
#include <stdint.h>

uint64_t plugin_read(const volatile uint64_t *address);

__asm__(".globl plugin_read\n.globl plugin_site\n.type plugin_read, @function\n"
        "plugin_read:\n\txor %eax, %eax\nplugin_site:\n\tmov 0x100(%rdi), %rax\n\tnop\n\tret\n");
