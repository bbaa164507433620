/*
 * A plugin of QEMU (TCG) that counts what a guest with one CPU executes between
 * two marks (mark_begin() in tdp_mmu_cost.c): instructions, those inside of some
 * functions, calls of functions by call site, and TLB and cache maintenance.
 *
 *	-plugin count.so,arch=arm64,out=FILE[,inside=ADDR...][,calls=ADDR...]
 *
 * It writes, for each pair of marks:
 *	span INSTRUCTIONS
 *	call FUNCTION SITE CALLS INSTRUCTIONS	(addresses; 0 if not inside=)
 *	op OPCODE TIMES				(arm64: TLBI, DC, IC)
 *
 * Interface: the first two versions of that of QEMU 6 to 9.0, in which
 * qemu_plugin_insn_data() returns a pointer.  What Debian packages has no header.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT	__attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info_t;

extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
						  void (*cb)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t idx);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
extern size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, void (*cb)(unsigned int, void *),
						   int flags, void *data);

EXPORT int qemu_plugin_version = 1;

enum mark { MARK_END, MARK_BEGIN, NO_MARK };

/* One that was translated; it stays, as the code that was made of it may. */
struct insn {
	uint64_t pc;
	uint32_t opcode;	/* of maintenance, or 0 */
	uint8_t size;
	uint8_t mark;
	bool call;
	bool first;		/* in its block: what follows a call always is */
	int8_t function;	/* that starts here, or -1 */
};

#define MAX_FUNCTIONS	64
#define MAX_DEPTH	64
#define MAX_ENTRIES	4096

static struct function {
	uint64_t pc;
	bool inside;
} functions[MAX_FUNCTIONS];
static int nr_functions;

static struct frame {
	int entry;
	uint64_t ret;
	uint64_t from;
} stack[MAX_DEPTH];
static int depth;

/* What was counted since the mark. */
static struct entry {
	uint64_t pc, site;	/* function and call site; opcode and 0 */
	uint64_t times, instructions;
	bool op;
} entries[MAX_ENTRIES];
static int nr_entries;

static uint64_t executed, span_from;
static const struct insn *last;
static bool measuring, arm64;
static FILE *out;

static void die(const char *what)
{
	fprintf(stderr, "count.so: %s\n", what);
	exit(1);
}

static int find_entry(bool op, uint64_t pc, uint64_t site)
{
	int i;

	for (i = 0; i < nr_entries; i++) {
		if (entries[i].pc == pc && entries[i].site == site && entries[i].op == op)
			return i;
	}
	if (nr_entries == MAX_ENTRIES)
		die("more call sites than there is room for");
	entries[nr_entries] = (struct entry) { .pc = pc, .site = site, .op = op };
	return nr_entries++;
}

static void begin(void)
{
	measuring = true;
	nr_entries = 0;
	depth = 0;
	span_from = executed;
}

static void end(void)
{
	const struct entry *e;

	if (!measuring)
		return;
	measuring = false;
	/* Without the mark. */
	fprintf(out, "span %" PRIu64 "\n", executed - span_from - 1);
	for (e = entries; e < entries + nr_entries; e++) {
		if (e->op)
			fprintf(out, "op %" PRIx64 " %" PRIu64 "\n", e->pc, e->times);
		else
			fprintf(out, "call %" PRIx64 " %" PRIx64 " %" PRIu64 " %" PRIu64 "\n", e->pc, e->site,
				e->times, e->instructions);
	}
	fflush(out);
}

/* Return: whether the block is where a function that was called goes on in its caller. */
static void leave(uint64_t pc)
{
	int i;

	/* One that its task sleeps in stays on the stack while others run. */
	for (i = depth - 1; i >= 0; i--) {
		if (stack[i].ret != pc)
			continue;
		entries[stack[i].entry].instructions += executed - 1 - stack[i].from;
		depth = i;
		return;
	}
}

static void enter(const struct insn *insn)
{
	const struct function *f = &functions[insn->function];
	int entry;

	/* Or it is a loop in the function, or a jump from elsewhere. */
	if (!last || !last->call)
		return;
	entry = find_entry(false, f->pc, last->pc);
	entries[entry].times++;
	if (!f->inside)
		return;
	if (depth == MAX_DEPTH)
		die("functions call each other without end");
	stack[depth++] = (struct frame) { entry, last->pc + last->size, executed - 1 };
}

static void exec(unsigned int cpu, void *data)
{
	const struct insn *insn = data;

	(void)cpu;
	executed++;
	if (insn->mark == MARK_BEGIN)
		begin();
	else if (insn->mark == MARK_END)
		end();
	else if (measuring) {
		if (insn->first && depth)
			leave(insn->pc);
		if (insn->function >= 0)
			enter(insn);
		if (insn->opcode)
			entries[find_entry(true, insn->opcode, 0)].times++;
	}
	last = insn;
}

static void decode_arm64(struct insn *insn, uint32_t word)
{
	/* BL; BLR */
	insn->call = (word & 0xfc000000) == 0x94000000 || (word & 0xfffffc1f) == 0xd63f0000;
	/* SYS with CRn 8, TLBI, and 7, caches, by any register */
	if ((word & 0xfff8f000) == 0xd5088000 || (word & 0xfff8f000) == 0xd5087000)
		insn->opcode = word & ~0x1fu;
	/* movz xzr, #0xb00x, lsl #48 */
	if ((word & ~0x20u) == 0xd2f6001f)
		insn->mark = word & 0x20 ? MARK_BEGIN : MARK_END;
}

static void decode_x86(struct insn *insn, const uint8_t *bytes)
{
	static const uint8_t mark[] = { 0x0f, 0x1f, 0x80 };
	uint32_t number;

	/* CALL relative; indirect, with or without REX */
	insn->call = bytes[0] == 0xe8 || (insn->size > 1 && bytes[0] == 0xff && (bytes[1] & 0x38) == 0x10) ||
		     (insn->size > 2 && bytes[0] == 0x41 && bytes[1] == 0xff && (bytes[2] & 0x38) == 0x10);
	if (insn->size == 7 && !memcmp(bytes, mark, 3)) {
		memcpy(&number, bytes + 3, 4);
		if (number == 0x7464b000 || number == 0x7464b001)
			insn->mark = number & 1 ? MARK_BEGIN : MARK_END;
	}
}

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t i, nr = qemu_plugin_tb_n_insns(tb);
	struct insn *insns = calloc(nr, sizeof(*insns));
	int f;

	(void)id;
	if (!insns)
		die("out of memory");
	for (i = 0; i < nr; i++) {
		struct qemu_plugin_insn *from = qemu_plugin_tb_get_insn(tb, i);
		struct insn *insn = &insns[i];
		uint32_t word;

		insn->pc = qemu_plugin_insn_vaddr(from);
		insn->size = qemu_plugin_insn_size(from);
		insn->mark = NO_MARK;
		insn->first = !i;
		insn->function = -1;
		for (f = 0; f < nr_functions; f++) {
			if (functions[f].pc == insn->pc)
				insn->function = f;
		}
		if (arm64) {
			memcpy(&word, qemu_plugin_insn_data(from), sizeof(word));
			decode_arm64(insn, word);
		} else {
			decode_x86(insn, qemu_plugin_insn_data(from));
		}
		qemu_plugin_register_vcpu_insn_exec_cb(from, exec, 0, insn);
	}
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t *info, int argc, char **argv)
{
	int i;

	(void)info;
	for (i = 0; i < argc; i++) {
		char *value = strchr(argv[i], '=');

		if (!value)
			die("an argument is not of the form name=value");
		*value++ = 0;
		if (!strcmp(argv[i], "arch")) {
			arm64 = !strcmp(value, "arm64");
		} else if (!strcmp(argv[i], "out")) {
			out = fopen(value, "w");
		} else if (!strcmp(argv[i], "inside") || !strcmp(argv[i], "calls")) {
			if (nr_functions == MAX_FUNCTIONS)
				die("too many functions");
			functions[nr_functions].inside = !strcmp(argv[i], "inside");
			functions[nr_functions++].pc = strtoull(value, NULL, 16);
		} else {
			die("arguments are arch, out, inside and calls");
		}
	}
	if (!out)
		die("out=FILE is missing, or cannot be written");
	qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
	return 0;
}
