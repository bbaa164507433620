// SPDX-License-Identifier: GPL-2.0-only
/*
 * PID 1 of every guest that tdp boots. Static and self-contained, so that a
 * target needs no user space but this file and the tests.
 *
 * With a list of tests in /tests (a test a line: "SECONDS COMMAND [ARGS...]"),
 * run them one after the other, report in KTAP, power off. Without a list, be
 * interactive: a busybox shell where there is one, else a small prompt.
 *
 * Where there is a shell (/bin/sh), a test runs through the kselftest harness
 * (/kselftest/kselftest/runner.sh) and the harness's own verdict counts. The
 * harness calls two tools that a static busybox cannot give it, timeout with
 * --foreground and stdbuf; this binary is both, under these names.
 *
 * Everything is printed through /dev/kmsg: a record is a line, so kernel
 * messages come between lines and never inside one.
 *
 * Around each test the faults that the common TDP MMU handled are counted by
 * a hist trigger on the tracepoint kvm:kvm_tdp_fault. The trigger's cost (a
 * hash update for each fault) is part of every rate that a test reports.
 * With tdp_locks on the kernel's command line, and a kernel with lockdep, who
 * takes an mmu_lock for write is counted, too, by the stack's functions.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define KSFT_SKIP	4
#define TIMEOUT_RC	124

#define BASE_DIR	"/kselftest"
#define TEST_DIR	BASE_DIR "/kvm"
#define RUNNER		BASE_DIR "/kselftest/runner.sh"
#define TEST_LIST	"/tests"
#define EVENT_DIR	"/sys/kernel/tracing/events/kvm/kvm_tdp_fault"
#define KMEMLEAK	"/sys/kernel/debug/kmemleak"
#define HIST		"hist:keys=common_type"
#define LOCK_DIR	"/sys/kernel/tracing/events/lock/lock_acquire"
#define LOCK_HIST	"hist:keys=common_stacktrace:size=2048"
/* Bit 0: by trying; bit 1: for read. */
#define LOCK_FILTER	" if name ~ \"*mmu_lock*\" && (flags == 0 || flags == 1)"
#define PATH_ENV	"/bin:/usr/bin:" TEST_DIR

/* Beyond its own timeout, what the harness gets to end a test itself. */
#define GRACE		30
/* A killed test that is not gone after this hangs in the kernel. */
#define UNKILLABLE	60

#define MAX_ARGS	64

static int kmsg_fd = -1;

/* ------------------------------------------------------------- output --- */

static void emit(const char *prefix, const char *text, int len)
{
	char buf[1000];
	int n, i;

	/* A record holds some 1000 bytes: longer lines become several. */
	do {
		n = snprintf(buf, 64, "<5>%s", prefix);
		for (i = 0; i < len && n < (int)sizeof(buf) - 80; i++) {
			unsigned char c = text[i];

			buf[n++] = isprint(c) || c == '\t' ? c : '?';
		}
		buf[n++] = '\n';
		while (write(kmsg_fd, buf, n) < 0 &&
		       (errno == EINTR || errno == EAGAIN))
			;
		text += i;
		len -= i;
	} while (len > 0);
}

static __attribute__((format(printf, 1, 2))) void say(const char *fmt, ...)
{
	char buf[4096];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	emit("", buf, n < (int)sizeof(buf) ? n : (int)sizeof(buf) - 1);
}

/* ------------------------------------------------------------- helpers -- */

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

static char *read_file(const char *path)
{
	size_t size = 0, room = 4096;
	char *buf = malloc(room);
	ssize_t n;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || !buf) {
		free(buf);
		return NULL;
	}
	while ((n = read(fd, buf + size, room - size - 1)) > 0) {
		size += n;
		if (size == room - 1) {
			room *= 2;
			buf = realloc(buf, room);
			if (!buf)
				abort();
		}
	}
	close(fd);
	buf[size] = '\0';
	return buf;
}

static int split_args(char *line, char **argv)
{
	int argc = 0;
	char *arg;

	while (argc < MAX_ARGS - 1 && (arg = strsep(&line, " \t")))
		if (*arg)
			argv[argc++] = arg;
	argv[argc] = NULL;
	return argc;
}

/* A pty makes every program line buffered: nothing is lost if it is killed. */
static int open_pty(int *slave)
{
	struct termios tio;
	char name[64];
	int master, nr, unlock = 0;

	*slave = -1;
	master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (master < 0)
		return -1;
	if (ioctl(master, TIOCSPTLCK, &unlock) || ioctl(master, TIOCGPTN, &nr))
		goto fail;
	snprintf(name, sizeof(name), "/dev/pts/%d", nr);
	*slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (*slave < 0 || tcgetattr(*slave, &tio))
		goto fail;
	cfmakeraw(&tio);
	tcsetattr(*slave, TCSANOW, &tio);
	return master;
fail:
	if (*slave >= 0)
		close(*slave);
	close(master);
	return -1;
}

static int exit_code(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) :
				     WEXITSTATUS(status);
}

/* Kernel threads have no command line; the harness itself only waits. */
static bool worth_dumping(const char *pid)
{
	static const char * const dull[] = { "init", "sh", "sed", "timeout",
					     "stdbuf" };
	char path[300], *text;
	bool worth;
	size_t i;

	snprintf(path, sizeof(path), "/proc/%s/cmdline", pid);
	text = read_file(path);
	worth = text && *text;
	free(text);
	snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	text = read_file(path);
	if (!text)
		return false;
	text[strcspn(text, "\n")] = '\0';
	for (i = 0; i < sizeof(dull) / sizeof(*dull); i++)
		worth = worth && strcmp(text, dull[i]);
	free(text);
	return worth;
}

/*
 * Where the threads of the test are: the first question if it did not end.
 * As text on fd, as a test's output.
 */
static void dump_threads(int fd)
{
	struct dirent *proc, *task;
	DIR *procs, *tasks;
	char path[600];

	/* After what may be half a line. */
	dprintf(fd, "\n");
	procs = opendir("/proc");
	while (procs && (proc = readdir(procs))) {
		static const char * const what[] = { "comm", "wchan", "syscall",
						     "stack" };

		if (!isdigit((unsigned char)proc->d_name[0]) ||
		    !worth_dumping(proc->d_name))
			continue;

		snprintf(path, sizeof(path), "/proc/%s/task", proc->d_name);
		tasks = opendir(path);
		while (tasks && (task = readdir(tasks))) {
			unsigned int i;

			if (task->d_name[0] == '.')
				continue;
			dprintf(fd, "thread %s/%s:\n", proc->d_name,
				task->d_name);
			for (i = 0; i < sizeof(what) / sizeof(*what); i++) {
				char *text;

				snprintf(path, sizeof(path), "/proc/%s/task/%s/%s",
					 proc->d_name, task->d_name, what[i]);
				text = read_file(path);
				if (text && *text)
					dprintf(fd, "  %s: %s%s", what[i], text,
						text[strlen(text) - 1] == '\n' ?
						"" : "\n");
				free(text);
			}
		}
		if (tasks)
			closedir(tasks);
	}
	if (procs)
		closedir(procs);
}

/* ------------------------------- the harness's tools: timeout, stdbuf --- */

static volatile sig_atomic_t got_term, got_alarm;

static void on_signal(int sig)
{
	if (sig == SIGALRM)
		got_alarm = 1;
	else
		got_term = 1;
}

/*
 * timeout [--foreground] SECONDS COMMAND...: as coreutils has it, as far as
 * runner.sh needs it, but the group gets a SIGKILL 5 s after the SIGTERM.
 */
static int timeout_main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_signal };
	bool foreground = false, expired = false;
	int status, seconds;
	pid_t pid, victim;

	if (argc > 1 && !strcmp(argv[1], "--foreground")) {
		foreground = true;
		argv++;
		argc--;
	}
	if (argc < 3) {
		fprintf(stderr, "timeout: [--foreground] SECONDS COMMAND...\n");
		return 125;
	}
	seconds = atoi(argv[1]);

	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGALRM, &sa, NULL);

	pid = fork();
	if (pid < 0)
		return 125;
	if (!pid) {
		if (!foreground)
			setpgid(0, 0);
		signal(SIGTERM, SIG_DFL);
		execvp(argv[2], argv + 2);
		fprintf(stderr, "timeout: %s: %s\n", argv[2], strerror(errno));
		_exit(errno == ENOENT ? 127 : 126);
	}
	if (!foreground)
		setpgid(pid, pid);
	victim = foreground ? pid : -pid;

	alarm(seconds);
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return 125;
		if (!got_term && !got_alarm)
			continue;
		if (!expired && !foreground)
			dump_threads(2);
		kill(victim, expired ? SIGKILL : SIGTERM);
		/* The outer of the two timeouts leaves the inner one its time. */
		alarm(foreground ? 10 : 5);
		expired = true;
		got_term = got_alarm = 0;
	}
	return expired ? TIMEOUT_RC : exit_code(status);
}

/* stdbuf OPTION COMMAND...: line buffered output, by a pty. */
static int stdbuf_main(int argc, char **argv)
{
	int master, slave, status = 0;
	bool dead = false;
	char buf[4096];
	pid_t child;

	while (argc > 1 && argv[1][0] == '-') {
		argv++;
		argc--;
	}
	if (argc < 2)
		return 125;

	master = open_pty(&slave);
	if (master < 0) {
		execvp(argv[1], argv + 1);
		return 127;
	}
	child = fork();
	if (child < 0)
		return 125;
	if (!child) {
		dup2(slave, 1);
		dup2(slave, 2);
		execvp(argv[1], argv + 1);
		fprintf(stderr, "%s: %s\n", argv[1], strerror(errno));
		_exit(errno == ENOENT ? 127 : 126);
	}
	close(slave);

	/* A timeout signals the whole group: stay until all output is out. */
	signal(SIGTERM, SIG_IGN);
	for (;;) {
		struct pollfd pfd = { .fd = master, .events = POLLIN };
		ssize_t n = 0;
		char *p = buf;

		/* What the command leaves behind may hold the pty for ever. */
		if (!dead && waitpid(child, &status, WNOHANG) == child)
			dead = true;
		if (poll(&pfd, 1, dead ? 0 : 100) > 0)
			n = read(master, buf, sizeof(buf));
		if (n <= 0 && dead)
			return exit_code(status);
		if (n < 0)
			usleep(5000);
		while (n > 0) {
			ssize_t done = write(1, p, n);

			if (done <= 0)
				break;
			p += done;
			n -= done;
		}
	}
}

/* ------------------------------------------------------- fault counter -- */

static bool have_event, have_hist;

static void faults_init(void)
{
	int ret;

	have_event = !access(EVENT_DIR, F_OK);
	/* From the kernel's command line, where counting would be measured, too. */
	if (!have_event || getenv("tdp_uncounted"))
		return;
	ret = write_file(EVENT_DIR "/trigger", HIST);
	have_hist = !ret;
	if (ret)
		say("# kvm_tdp_fault: no hist trigger: %s", strerror(-ret));
}

static void faults_clear(void)
{
	if (have_hist)
		write_file(EVENT_DIR "/trigger", HIST ":clear");
}

/* The hits of the one key there is; no entry at all means no fault. */
static long faults_read(void)
{
	char *text, *p;
	long n = -1;

	if (!have_hist)
		return -1;
	text = read_file(EVENT_DIR "/hist");
	if (text && (p = strstr(text, "Hits:")))
		n = atol(p + strlen("Hits:"));
	free(text);
	return n;
}

/* --------------------------------------------------------- lock counter -- */

static bool have_locks;

static void locks_init(void)
{
	int ret;

	if (!getenv("tdp_locks"))
		return;
	ret = write_file(LOCK_DIR "/trigger", LOCK_HIST LOCK_FILTER);
	have_locks = !ret;
	if (ret)
		say("# mmu_lock: cannot be counted: %s", strerror(-ret));
}

static void locks_clear(void)
{
	if (have_locks)
		write_file(LOCK_DIR "/trigger", LOCK_HIST ":clear" LOCK_FILTER);
}

/* A line for each stack: how often, and its functions, the innermost first. */
static void locks_report(void)
{
	char *text, *rest, *line, stack[1024] = "";

	if (!have_locks)
		return;
	text = rest = read_file(LOCK_DIR "/hist");
	while ((line = strsep(&rest, "\n"))) {
		char *hits = strstr(line, "hitcount:");
		size_t used = strlen(stack);

		if (!strncmp(line, "    Dropped: ", 13) && atol(line + 13))
			say("# mmu_lock for write: %ld", atol(line + 13));
		if (hits && *stack) {
			say("# mmu_lock for write: %ld%s",
			    atol(hits + strlen("hitcount:")), stack);
			*stack = '\0';
		} else if (strstr(line, "stacktrace:")) {
			*stack = '\0';
		} else if (strchr(line, '+') && used < sizeof(stack) - 80) {
			line += strspn(line, " \t");
			line[strcspn(line, "+")] = '\0';
			snprintf(stack + used, sizeof(stack) - used, " %s", line);
		}
	}
	free(text);
}

/* --------------------------------------------------------- run one test - */

struct result {
	bool expired;		/* init had to end it */
	bool unkillable;	/* and could not */
	int status;		/* wait status */
	double seconds;
	char verdict[256];	/* the harness's own result line, if any */
};

/* The variable in which runner.sh looks for a test's arguments. */
static void export_args(const char *command, char **argv)
{
	const char *base = strrchr(command, '/');
	char name[128] = "KSELFTEST_", value[2048] = "";
	size_t n = strlen(name), i;

	base = base ? base + 1 : command;
	for (; *base && n < sizeof(name) - 8; base++)
		name[n++] = isalnum((unsigned char)*base) ?
			    toupper((unsigned char)*base) : '_';
	strcpy(name + n, "_ARGS");

	for (i = 1; argv[i]; i++) {
		if (strlen(value) + strlen(argv[i]) + 2 > sizeof(value))
			break;
		if (i > 1)
			strcat(value, " ");
		strcat(value, argv[i]);
	}
	setenv(name, value, 1);
}

static void exec_test(char **argv, int seconds, bool harness)
{
	static char script[512];
	char number[16];

	if (chdir(TEST_DIR))
		_exit(127);
	if (!harness) {
		char path[256];

		snprintf(path, sizeof(path), "./%s", argv[0]);
		execv(path, argv);
		printf("%s: %s\n", path, strerror(errno));
		fflush(stdout);
		_exit(127);
	}
	export_args(argv[0], argv);
	snprintf(number, sizeof(number), "%d", seconds);
	setenv("BASE_DIR", BASE_DIR, 1);
	setenv("kselftest_override_timeout", number, 1);
	snprintf(script, sizeof(script), ". " RUNNER "; run_many ./%s",
		 argv[0]);
	execl("/bin/sh", "sh", "-c", script, NULL);
	_exit(127);
}

static void put_line(struct result *res, bool harness, const char *line,
		     int len)
{
	if (len && line[len - 1] == '\r')
		len--;
	if (harness && (!strncmp(line, "ok 1 ", 5) ||
			!strncmp(line, "not ok 1 ", 9)))
		snprintf(res->verdict, sizeof(res->verdict), "%.*s", len, line);
	/* The harness's output is a nested KTAP document, hence indented. */
	emit(harness ? "  " : "# ", line, len);
}

static void kill_all(void)
{
	/* From PID 1 this is everything else; kernel threads do not mind. */
	kill(-1, SIGKILL);
}

/* In the test's output, though not by the test. */
static void dump_threads_said(void)
{
	FILE *f = tmpfile();
	char line[1024];

	if (!f)
		return;
	dump_threads(fileno(f));
	rewind(f);
	while (fgets(line, sizeof(line), f))
		emit("# ", line, strcspn(line, "\n"));
	fclose(f);
}

static void run_test(struct result *res, char **argv, int seconds,
		     bool harness)
{
	double start = now(), deadline = start + seconds;
	int master, slave, pipefd[2], len = 0;
	bool reaped = false;
	char buf[4096];
	pid_t pid;

	memset(res, 0, sizeof(*res));
	if (harness)
		deadline += GRACE;

	master = open_pty(&slave);
	if (master < 0) {
		if (pipe2(pipefd, O_CLOEXEC))
			abort();
		master = pipefd[0];
		slave = pipefd[1];
	}

	pid = fork();
	if (!pid) {
		int null = open("/dev/null", O_RDONLY);

		setsid();
		dup2(null, 0);
		dup2(slave, 1);
		dup2(slave, 2);
		exec_test(argv, seconds, harness);
	}
	close(slave);
	if (pid < 0) {
		close(master);
		res->status = 125 << 8;
		return;
	}

	for (;;) {
		struct pollfd pfd = { .fd = master, .events = POLLIN };
		bool was_reaped = reaped, open = true;
		int n = 0, status;
		pid_t dead;

		if (poll(&pfd, 1, 100) > 0) {
			n = read(master, buf + len, sizeof(buf) - len);
			open = n > 0;
		}
		if (n > 0) {
			char *line = buf, *end;

			len += n;
			while ((end = memchr(line, '\n', buf + len - line))) {
				put_line(res, harness, line, end - line);
				line = end + 1;
			}
			len -= line - buf;
			memmove(buf, line, len);
			if (len == sizeof(buf)) {
				put_line(res, harness, buf, len);
				len = 0;
			}
		}

		/* Also reaps orphans: PID 1 is everybody's last parent. */
		while ((dead = waitpid(-1, &status, WNOHANG)) > 0) {
			if (dead != pid)
				continue;
			res->status = status;
			res->seconds = now() - start;
			reaped = true;
			/* Children that it left must not hold the output. */
			kill_all();
		}

		/* Dead before this look at its output: all has been read. */
		if (was_reaped && n <= 0)
			break;
		if (!open)
			usleep(5000);

		if (!reaped && now() > deadline) {
			if (res->expired) {
				res->unkillable = true;
				res->seconds = now() - start;
				break;
			}
			res->expired = true;
			/* Where it hangs, for the reader of the console. */
			if (!harness)
				dump_threads_said();
			write_file("/proc/sysrq-trigger", "w");
			kill_all();
			deadline = now() + UNKILLABLE;
		}
	}
	if (len)
		put_line(res, harness, buf, len);
	close(master);
}

static bool is_skip(const char *verdict)
{
	return !strncmp(verdict, "ok ", 3) && strstr(verdict, "# SKIP");
}

/* Returns 0 passed, 1 failed, 2 skipped. */
static int report(int nr, const char *title, int seconds, struct result *res,
		  bool harness)
{
	char *directive = strstr(res->verdict, " # ");

	if (res->unkillable) {
		say("not ok %d %s # TIMEOUT %d seconds, cannot be killed time=%.3fs",
		    nr, title, seconds, res->seconds);
		return 1;
	}
	if (res->expired) {
		say("not ok %d %s # TIMEOUT %d seconds time=%.3fs", nr, title,
		    seconds, res->seconds);
		return 1;
	}
	if (harness && *res->verdict) {
		bool bad = !strncmp(res->verdict, "not ok", 6);
		bool skip = is_skip(res->verdict);

		say("%s %d %s # %s%stime=%.3fs", bad ? "not ok" : "ok", nr,
		    title, directive ? directive + 3 : "",
		    directive ? " " : "", res->seconds);
		return bad ? 1 : skip ? 2 : 0;
	}
	if (harness) {
		say("not ok %d %s # the harness gave no verdict, exit=%d time=%.3fs",
		    nr, title, exit_code(res->status), res->seconds);
		return 1;
	}
	if (WIFSIGNALED(res->status)) {
		say("not ok %d %s # signal=%d time=%.3fs", nr, title,
		    WTERMSIG(res->status), res->seconds);
		return 1;
	}
	switch (WEXITSTATUS(res->status)) {
	case 0:
		say("ok %d %s # time=%.3fs", nr, title, res->seconds);
		return 0;
	case KSFT_SKIP:
		say("ok %d %s # SKIP time=%.3fs", nr, title, res->seconds);
		return 2;
	default:
		say("not ok %d %s # exit=%d time=%.3fs", nr, title,
		    WEXITSTATUS(res->status), res->seconds);
		return 1;
	}
}

/*
 * Have kmemleak look for what nobody points to.  It takes nothing for a leak
 * that is younger than 5 s, and RCU callbacks must have run.
 */
static void find_leaks(void)
{
	int i;

	for (i = 0; i < 2; i++) {
		sleep(6);
		/* It gives up when it runs out of memory. */
		if (write_file(KMEMLEAK, "scan"))
			say("WARNING: kmemleak does not work");
	}
}

static void report_leaks(void)
{
	char *text, *rest, *line;

	text = rest = read_file(KMEMLEAK);
	while ((line = strsep(&rest, "\n")))
		if (*line)
			say("%s", line + strspn(line, " "));
	free(text);
}

static bool stay_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return !sched_setaffinity(0, sizeof(set), &set);
}

/* Let a CPU run nothing but this, and so not the scheduler, until @stop. */
static pid_t occupy(int cpu, volatile bool *there, const volatile bool *stop)
{
	struct sched_param param = { .sched_priority = 99 };
	pid_t pid = fork();

	if (pid)
		return pid;
	if (!stay_on(cpu) || sched_setscheduler(0, SCHED_FIFO, &param))
		say("# cannot occupy CPU %d: %s", cpu, strerror(errno));
	*there = true;
	while (!*stop)
		;
	_exit(0);
}

/*
 * A VM for as long as the tests run.  The first VM and the end of the last one
 * patch the scheduler, by the static key preempt_notifier_key.  QEMU before
 * 8.1, with a thread for each CPU, can keep the old code for good when one CPU
 * translates it while another patches it (its commit deba78709ae8 mends that):
 * kvm_sched_in() is not called then, the vCPU that was not loaded never returns
 * from the guest, or what it writes to is not found in its dirty ring.  So no
 * other CPU may come to the scheduler while this VM is made.
 */
static void hold_vm(int nr_cpus)
{
	struct {
		volatile bool stop, there[64];
	} *shared;
	int cpu, kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	pid_t pids[64] = { 0 };
	cpu_set_t all;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (kvm < 0 || shared == MAP_FAILED || nr_cpus > 64 ||
	    sched_getaffinity(0, sizeof(all), &all) || !stay_on(0))
		return;
	for (cpu = 1; cpu < nr_cpus; cpu++)
		pids[cpu] = occupy(cpu, &shared->there[cpu], &shared->stop);
	for (cpu = 1; cpu < nr_cpus; cpu++)
		while (pids[cpu] > 0 && !shared->there[cpu])
			usleep(1000);

	/* Never closed, and of no child: KVM makes it O_CLOEXEC. */
	if (ioctl(kvm, KVM_CREATE_VM, 0) < 0)
		say("# no VM to hold: %s", strerror(errno));

	shared->stop = true;
	for (cpu = 1; cpu < nr_cpus; cpu++)
		if (pids[cpu] > 0)
			waitpid(pids[cpu], NULL, 0);
	sched_setaffinity(0, sizeof(all), &all);
	munmap(shared, sizeof(*shared));
	close(kvm);
}

static void run_tests(char *list)
{
	bool kmemleak = !access(KMEMLEAK, W_OK);
	bool harness = !access("/bin/sh", X_OK) && !access(RUNNER, R_OK);
	int total = 0, nr = 0, count[3] = { 0 };
	char *line, *p;

	for (p = list; *p; p++)
		total += *p == '\n';

	say("KTAP version 1");
	say("# kvm_tdp_fault: %s", have_event ? "present" : "absent");
	say("# harness: %s", harness ? "kselftest/runner.sh" : "none");
	say("1..%d", total);
	if (sysconf(_SC_NPROCESSORS_ONLN) > 1)
		hold_vm(sysconf(_SC_NPROCESSORS_ONLN));

	/* What the kernel lost before the tests is not theirs. */
	if (kmemleak) {
		find_leaks();
		write_file(KMEMLEAK, "clear");
	}

	while ((line = strsep(&list, "\n")) && *line) {
		char *argv[MAX_ARGS], title[1024];
		struct result res;
		int seconds;
		long faults;

		seconds = strtol(line, &p, 10);
		p += strspn(p, " \t");
		snprintf(title, sizeof(title), "%s", p);
		nr++;
		if (seconds <= 0 || !split_args(p, argv)) {
			say("not ok %d %s # bad line in " TEST_LIST, nr, title);
			count[1]++;
			continue;
		}

		say("# start %d %s", nr, title);
		faults_clear();
		locks_clear();
		run_test(&res, argv, seconds, harness);
		faults = faults_read();
		locks_report();
		if (faults >= 0)
			say("# kvm_tdp_faults: %ld", faults);
		count[report(nr, title, seconds, &res, harness)]++;
	}
	if (kmemleak) {
		say("# looking for leaks");
		find_leaks();
		report_leaks();
	}
	say("# Totals: pass:%d fail:%d skip:%d", count[0], count[1], count[2]);
	say("# tdp: end of tests");
}

/* --------------------------------------------------------- interactive -- */

static void prompt_list(const char *dir)
{
	struct dirent *de;
	DIR *d = opendir(dir);

	if (!d) {
		printf("%s: %s\n", dir, strerror(errno));
		return;
	}
	while ((de = readdir(d)))
		if (de->d_name[0] != '.')
			printf("%s\n", de->d_name);
	closedir(d);
}

static void prompt_run(char **argv)
{
	double start = now();
	int status;
	long faults;
	pid_t pid;

	faults_clear();
	pid = fork();
	if (!pid) {
		setpgid(0, 0);
		tcsetpgrp(0, getpid());
		signal(SIGINT, SIG_DFL);
		signal(SIGTTOU, SIG_DFL);
		execvp(argv[0], argv);
		printf("%s: %s (help: what there is)\n", argv[0],
		       strerror(errno));
		_exit(127);
	}
	if (pid < 0) {
		printf("fork: %s\n", strerror(errno));
		return;
	}
	setpgid(pid, pid);
	tcsetpgrp(0, pid);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	tcsetpgrp(0, getpgrp());
	if (exit_code(status) == 127)
		return;
	printf("exit=%d time=%.3fs", exit_code(status), now() - start);
	faults = faults_read();
	if (faults >= 0)
		printf(" kvm_tdp_faults=%ld", faults);
	printf("\n");
}

/* Enough of a shell to run a test on a target that has none. */
static void prompt(void)
{
	char line[1024], *argv[MAX_ARGS];

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGINT, SIG_IGN);
	signal(SIGTTOU, SIG_IGN);
	for (;;) {
		printf("tdp# ");
		fflush(stdout);
		if (!fgets(line, sizeof(line), stdin))
			return;
		line[strcspn(line, "\r\n")] = '\0';
		if (!split_args(line, argv))
			continue;
		if (!strcmp(argv[0], "poweroff") || !strcmp(argv[0], "exit"))
			return;
		if (!strcmp(argv[0], "help") || !strcmp(argv[0], "?")) {
			printf("TEST [ARGS], ls [DIR], cat FILE, poweroff. The tests:\n");
			prompt_list(TEST_DIR);
		} else if (!strcmp(argv[0], "ls")) {
			prompt_list(argv[1] ? argv[1] : TEST_DIR);
		} else if (!strcmp(argv[0], "cat") && argv[1]) {
			char *text = read_file(argv[1]);

			fputs(text ? text : "cannot read it\n", stdout);
			free(text);
		} else {
			prompt_run(argv);
		}
	}
}

static void power_off(void)
{
	sync();
	reboot(RB_POWER_OFF);
	/* Not every board can; a reboot ends the emulator as well. */
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}

static void on_poweroff(int sig)
{
	(void)sig;
	power_off();
}

static void interactive(void)
{
	char *active = read_file("/sys/class/tty/console/active");
	char path[128], *name;
	int status;
	pid_t pid;

	/* What busybox's poweroff, reboot and halt send to PID 1. */
	signal(SIGUSR2, on_poweroff);
	signal(SIGTERM, on_poweroff);
	signal(SIGUSR1, on_poweroff);

	/* Job control needs the terminal itself: /dev/console cannot be one. */
	name = active ? strrchr(active, ' ') : NULL;
	name = name ? name + 1 : active;
	if (name)
		name[strcspn(name, "\n")] = '\0';
	snprintf(path, sizeof(path), "/dev/%s", name && *name ? name : "console");

	pid = fork();
	if (!pid) {
		int fd;

		setsid();
		fd = open(path, O_RDWR);
		if (fd < 0)
			fd = open("/dev/console", O_RDWR);
		ioctl(fd, TIOCSCTTY, 1);
		dup2(fd, 0);
		dup2(fd, 1);
		dup2(fd, 2);
		if (chdir(TEST_DIR))
			_exit(1);
		printf("\nThe tests are in " TEST_DIR " and in PATH. exit or poweroff ends the guest.\n");
		if (have_hist)
			printf("Faults handled by the common TDP MMU: cat " EVENT_DIR "/hist\n");
		fflush(stdout);
		setenv("TERM", "vt100", 1);
		setenv("PS1", "tdp# ", 1);
		if (!access("/bin/sh", X_OK))
			execl("/bin/sh", "sh", "-i", NULL);
		prompt();
		_exit(0);
	}
	if (pid < 0)
		return;
	for (;;) {
		pid_t dead = waitpid(-1, &status, 0);

		if (dead == pid || (dead < 0 && errno == ECHILD))
			break;
	}
}

/* --------------------------------------------------------------- PID 1 -- */

static void do_mount(const char *type, const char *dir, const char *options)
{
	mkdir(dir, 0755);
	/* What the kernel was built without is simply not there. */
	mount(type, dir, type, 0, options);
}

static void mounts(void)
{
	do_mount("proc", "/proc", NULL);
	do_mount("sysfs", "/sys", NULL);
	do_mount("devtmpfs", "/dev", NULL);
	do_mount("devpts", "/dev/pts", "ptmxmode=0666");
	do_mount("tmpfs", "/dev/shm", NULL);
	do_mount("tmpfs", "/tmp", NULL);
	do_mount("debugfs", "/sys/kernel/debug", NULL);
	do_mount("tracefs", "/sys/kernel/tracing", NULL);
	do_mount("hugetlbfs", "/dev/hugepages", NULL);
	/* devtmpfs has no links; runner.sh logs to /dev/stdout. */
	if (symlink("/proc/self/fd", "/dev/fd") ||
	    symlink("/proc/self/fd/0", "/dev/stdin") ||
	    symlink("/proc/self/fd/1", "/dev/stdout") ||
	    symlink("/proc/self/fd/2", "/dev/stderr"))
		return;
}

int main(int argc, char **argv)
{
	const char *self = strrchr(argv[0], '/');
	char *list;

	self = self ? self + 1 : argv[0];
	if (!strcmp(self, "timeout"))
		return timeout_main(argc, argv);
	if (!strcmp(self, "stdbuf"))
		return stdbuf_main(argc, argv);

	mounts();
	kmsg_fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	if (kmsg_fd < 0)
		kmsg_fd = open("/dev/console", O_WRONLY | O_CLOEXEC);
	setenv("PATH", PATH_ENV, 1);
	setenv("HOME", "/", 1);
	faults_init();
	locks_init();

	list = read_file(TEST_LIST);
	if (list)
		run_tests(list);
	else
		interactive();
	power_off();
}
