-- cdef.lua: the C structures that the kernel reads and writes, as in base/buf.h, codec/msgpack.h, batch/batch.h,
-- sandbox/mark.h, rules/state.h and rules/bridge.h.
--
-- They stand here once more because the test kit has them without the engine. When the engine starts a VM it compares sizes and
-- offsets with its own (engine.lua), so the two cannot drift apart.
local ffi = require "ffi"

local STRUCTURES = {
  { "struct buf", "struct buf { char *data; size_t len; size_t cap; };" },
  { "struct token", [[
struct token {
  union { double number; int64_t i64; uint64_t u64; const char *bytes; };
  uint32_t len;
  uint32_t size;
  uint8_t type;
  int8_t ext_type;
};]] },
  { "struct tokens", "struct tokens { struct token *list; uint32_t count, cap; };" },
  { "struct batch_entry", [[
struct batch_entry {
  double ms, clock_ms;
  uint64_t seq;
  const void *fields;
  uint32_t stream, run_end;
  uint32_t size;
  uint16_t only, attempts;
};]] },
  { "struct fired", [[
struct fired {
  struct batch_entry entry;
  const char *key, *name, *payload;
  uint32_t key_len, name_len, payload_len;
  double start_ms, stop_ms;
  const char *reason, *message;
  uint32_t before;
  uint8_t kind, is_blamed;
};]] },
  { "struct effect", [[
struct effect {
  uint64_t at, len;
  uint32_t entry;
  uint16_t rule, ordinal;
  uint32_t key_at, key_len;
};]] },
  { "struct state_slot", [[
struct state_slot {
  const char *bytes;
  uint32_t len, head;
  double expiry_ms;
  uint32_t version;
};]] },
  { "struct timer", [[
struct timer {
  double due_ms;
  const char *key, *name, *payload;
  uint32_t key_len, name_len, payload_len;
};]] },
  { "struct bridge", [[
struct bridge {
  struct batch_entry *entries;
  struct effect *effects;
  struct fired *fired;
  const double *nexts;
  uint32_t entry_count, effect_count, effect_cap, letter_count;
  uint32_t at_entry, request_count, want_count, fired_count, fire_most;
  double clock_ms, deadline_ms, next_wall_ms, until_ms, proven_ms, next_idle_ms;
  struct tokens event_tokens, state_tokens;
  struct buf out, letters, requests;
  uint8_t is_unordered, is_stopped, texts, is_future, is_renewable, is_short, is_early, is_exact, has_more, is_peek;
  char fault[502];
};]] },
  { "struct mark", "struct mark { uint32_t rule, leaving, serial, is_full, is_seen, spent_us; };" },
  { "tidemill_int64", "typedef struct { const int64_t value; const bool is_unsigned; } tidemill_int64;" },
  { "tidemill_null", "typedef struct { const bool is_null; } tidemill_null;" },
}

-- What is there already stays: a Lua state knows a C type for good, also when busted forgets this module between two spec files,
-- and our own specs read some of these from the headers.
local function is_known(name)
  local found, size = pcall(ffi.sizeof, name)
  return found and size ~= nil
end

for _, structure in ipairs(STRUCTURES) do
  if not is_known(structure[1]) then ffi.cdef(structure[2]) end
end

return ffi
