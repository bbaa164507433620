/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __SHIM_TRACEPOINT_H
#define __SHIM_TRACEPOINT_H

/* Tracepoints check the types of their arguments, and do nothing. */
#define TP_PROTO(...)		__VA_ARGS__
#define TP_ARGS(...)		__VA_ARGS__
#define TRACE_DEFINE_ENUM(value)

#define TRACE_EVENT(name, proto, ...)	static inline void trace_##name(proto) {}
#define DECLARE_EVENT_CLASS(name, proto, ...)
#define DEFINE_EVENT(class, name, proto, ...) \
	static inline void trace_##name(proto) {}

#endif /* __SHIM_TRACEPOINT_H */
