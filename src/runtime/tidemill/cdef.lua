-- cdef.lua: the C structures that the kernel reads and writes, as in base/buf.h, codec/msgpack.h and rules/bridge.h.
--
-- They stand here once more because the test kit has them without the engine. When the engine starts a VM it compares
-- every size and offset with its own (bridge.c), so the two cannot drift apart.
local ffi = require "ffi"

ffi.cdef [[
struct buf { char *data; size_t len; size_t cap; };

struct token {
  union { double number; int64_t i64; uint64_t u64; const char *bytes; };
  uint32_t len;
  uint32_t size;
  uint8_t type;
  int8_t ext_type;
};
struct tokens { struct token *list; uint32_t count, cap; };

struct batch_entry {
  double ms, clock_ms;
  uint64_t seq;
  const void *fields;
  uint32_t stream, run_end;
  uint32_t size;
  uint16_t only, attempts;
};

struct effect {
  uint64_t at, len;
  uint32_t entry;
  uint16_t rule, ordinal;
};

struct state_slot {
  const char *bytes;
  uint32_t len, head;
  double expiry_ms;
};

struct bridge {
  struct batch_entry *entries;
  struct effect *effects;
  uint32_t entry_count, effect_count, effect_cap, letter_count;
  uint32_t at_entry, at_rule;
  uint32_t request_count, want_count;
  double clock_ms, deadline_ms;
  struct tokens event_tokens, state_tokens;
  struct buf out, letters, requests;
  uint8_t is_unordered, is_stopped, texts, is_future;
  char fault[508];
};

typedef struct { const int64_t value; const bool is_unsigned; } tidemill_int64;
typedef struct { const bool is_null; } tidemill_null;
]]

return ffi
