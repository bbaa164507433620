/*
 * A plugin of QEMU (TCG) that counts what a guest with one CPU executes between
 * two marks (mark_begin() in tdp_mmu_cost.c): instructions, those inside of some
 * functions, calls of functions by call site, those between the return of a function
 * that locks and the call of one that unlocks, and TLB and cache maintenance.
 *
 *	-plugin count.so,arch=arm64,out=FILE[,function=ADDR...][,lock=ADDR,unlock=ADDR...]
 *
 * It writes, for each pair of marks:
 *	span INSTRUCTIONS
 *	call FUNCTION RETURN CALLS INSTRUCTIONS	(addresses; with what it calls)
 *	held FUNCTION RETURN INSTRUCTIONS LONGEST	(of the one that locks)
 *	op OPCODE TIMES				(arm64: TLBI, DC, IC)
 *
 * What is counted are instructions that were begun: one that faults counts again
 * when it is repeated.  Interrupts belong to the function that they interrupt, and
 * to the locks that are held.  Of two locks of a kind the one that was taken last is
 * released first.
 *
 * Interface: the first version of that of QEMU, as 6 to 8 have it; what Debian
 * packages has no header.
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
	bool function;		/* one of those that are counted starts here */
	int8_t unlock;		/* the one that unlocks this of the locks starts here, or -1 */
};

#define MAX_FUNCTIONS	64
#define MAX_DEPTH	32
#define MAX_ENTRIES	4096
#define NO_ENTRY	-1
#define MAX_LOCKS	8
#define MAX_HOLDS	16

static uint64_t functions[MAX_FUNCTIONS];
static int nr_functions;
static uint64_t locks[MAX_LOCKS], unlocks[MAX_LOCKS];
static int nr_locks, nr_unlocks;

/* Locks that are held, the last one on top; who holds one does not sleep. */
static struct hold {
	int lock, entry;	/* of the function that locked */
	uint64_t from;
} holds[MAX_HOLDS];
static int nr_holds;

/*
 * Calls that have not returned, the last one on top: on x86 functions are also
 * entered by jumps from what was called.  Tasks share it, so that a function whose
 * task sleeps can be below others.
 */
static struct frame {
	uint64_t ret;
	int entry;		/* of the function that returns there, if it is counted */
	uint64_t from;
} stack[MAX_DEPTH];
static int depth;

/* What was counted since the mark. */
static struct entry {
	uint64_t pc, site;	/* function and where it returns to; opcode and 0 */
	uint64_t times, instructions;
	uint64_t held, longest;
	bool op;
} entries[MAX_ENTRIES];
static int nr_entries;

static uint64_t executed, span_from;
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
	nr_holds = 0;
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
		if (e->held)
			fprintf(out, "held %" PRIx64 " %" PRIx64 " %" PRIu64 " %" PRIu64 "\n", e->pc, e->site,
				e->held, e->longest);
	}
	fflush(out);
}

static void push(uint64_t ret)
{
	/* Of tasks that never came back. */
	if (depth == MAX_DEPTH)
		memmove(stack, stack + 1, --depth * sizeof(*stack));
	stack[depth++] = (struct frame) { ret, NO_ENTRY, 0 };
}

static void locked(int entry)
{
	int lock;

	for (lock = 0; lock < nr_locks; lock++) {
		if (locks[lock] != entries[entry].pc)
			continue;
		if (nr_holds == MAX_HOLDS)
			die("more locks are held than there is room for");
		holds[nr_holds++] = (struct hold) { lock, entry, executed - 1 };
	}
}

static void unlocked(int lock)
{
	struct entry *e;
	uint64_t held;
	int i;

	for (i = nr_holds - 1; i >= 0; i--) {
		if (holds[i].lock == lock)
			break;
	}
	/* Or it was locked before the mark. */
	if (i < 0)
		return;
	e = &entries[holds[i].entry];
	held = executed - 1 - holds[i].from;
	e->held += held;
	if (e->longest < held)
		e->longest = held;
	memmove(holds + i, holds + i + 1, (--nr_holds - i) * sizeof(*holds));
}

static void leave(uint64_t pc)
{
	int i;

	for (i = depth - 1; i >= 0; i--) {
		if (stack[i].ret == pc)
			break;
	}
	if (i < 0)
		return;
	/* A function can have gone on in another by a jump: all return there. */
	for (; i >= 0 && stack[i].ret == pc; i--) {
		if (stack[i].entry != NO_ENTRY) {
			entries[stack[i].entry].instructions += executed - 1 - stack[i].from;
			locked(stack[i].entry);
		}
		depth = i;
	}
}

static void enter(const struct insn *insn)
{
	struct frame *top = depth ? &stack[depth - 1] : NULL;
	int entry;

	if (!top)
		return;
	entry = find_entry(false, insn->pc, top->ret);
	/* A loop to its first instruction. */
	if (top->entry == entry)
		return;
	entries[entry].times++;
	if (top->entry != NO_ENTRY) {
		push(top->ret);
		top = &stack[depth - 1];
	}
	top->entry = entry;
	top->from = executed - 1;
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
		if (insn->first)
			leave(insn->pc);
		if (insn->function)
			enter(insn);
		if (insn->unlock >= 0)
			unlocked(insn->unlock);
		if (insn->opcode)
			entries[find_entry(true, insn->opcode, 0)].times++;
		if (insn->call)
			push(insn->pc + insn->size);
	}
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
		for (f = 0; f < nr_functions; f++) {
			if (functions[f] == insn->pc)
				insn->function = true;
		}
		for (f = 0; f < nr_locks; f++) {
			if (locks[f] == insn->pc)
				insn->function = true;
		}
		insn->unlock = -1;
		for (f = 0; f < nr_unlocks; f++) {
			if (unlocks[f] == insn->pc)
				insn->unlock = f;
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
		} else if (!strcmp(argv[i], "function")) {
			if (nr_functions == MAX_FUNCTIONS)
				die("too many functions");
			functions[nr_functions++] = strtoull(value, NULL, 16);
		} else if (!strcmp(argv[i], "lock") || !strcmp(argv[i], "unlock")) {
			int *nr = argv[i][0] == 'l' ? &nr_locks : &nr_unlocks;

			if (*nr == MAX_LOCKS)
				die("too many locks");
			(argv[i][0] == 'l' ? locks : unlocks)[(*nr)++] = strtoull(value, NULL, 16);
		} else {
			die("arguments are arch, out, function, lock and unlock");
		}
	}
	if (nr_locks != nr_unlocks)
		die("each lock needs its unlock");
	if (!out)
		die("out=FILE is missing, or cannot be written");
	qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
	return 0;
}
