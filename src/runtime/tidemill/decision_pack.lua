-- decision_pack.lua: records of decisions (decisions.lua) as bytes: for each recorded event, or timer or window that fired, an
-- array with a map for each rule (its fields: put_decision).
--
-- A record is bounded: texts are cut, of lists the first are kept, and a value that is too large is a map { size = bytes }. A
-- rule's map that does not fit any more keeps only what was decided (`cut`), and what does not even fit so is counted.
local entry = require "tidemill.entry"
local ffi = require "tidemill.cdef"
local pack = require "tidemill.pack"

local decision_pack = {}

decision_pack.VALUE_MOST = 8192 -- bytes of a state, an answer, a payload …
decision_pack.LIST_MOST = 20    -- reasons, lookups, effects, timers of one decision, each
local TEXT_MOST = 1024
local RULES_MOST = 45056        -- bytes of all maps of a record; with the event at most 64 KiB (bridge_decisions.c)
local BATCH_MOST = 8388608      -- of all records of a batch; beyond it, they keep only what was decided

local FIRED = entry.FIRED
local VALUE_MOST, LIST_MOST = decision_pack.VALUE_MOST, decision_pack.LIST_MOST
local floor, min, type = math.floor, math.min, type
local base, copy, put_string, put_number, put_head = pack.bytes(), ffi.copy, pack.put_string, pack.put_number, pack.put_head

---Where a decision stands among those of its batch, as a key; of rule 0: the record of an entry. With a half: tables with
---scattered whole numbers are not compiled.
function decision_pack.place(i, rule) return i * 65536 + rule + 0.5 end

local place = decision_pack.place

---A text of bounded length.
function decision_pack.cut(text)
  if #text > TEXT_MOST then return text:sub(1, TEXT_MOST) .. " ..." end
  return text
end

local cut = decision_pack.cut

-- ── msgpack, put together by hand in the buffer of pack.lua: each function writes at a place and returns that behind it ─────

local NIL, TRUE = "\192", "\195"

-- Names of fields, packed.
local N = {}
for _, name in ipairs { "rule", "version", "outcome", "us", "key", "why", "reason", "message", "skipped", "late_ms", "cut",
  "traceback", "reasons", "state", "window", "lookups", "effects", "refused", "timers", "kind", "start", "stop", "command", "error",
  "set", "cancel", "due", "stream", "event", "event_size", "json", "reasons_count", "lookups_count", "effects_count",
  "timers_count" } do
  N[name] = pack.string(name)
end

-- The field of the outcome, packed.
local OUTCOMES = {}
for _, outcome in ipairs { "ran", "filtered", "failed", "late" } do OUTCOMES[outcome] = N.outcome .. pack.string(outcome) end

local function put_bytes(at, bytes)
  copy(base + at, bytes, #bytes)
  return at + #bytes
end

local function put_text(at, v) return (put_string(at, cut(v))) end

-- The head of a map that was begun at `head` with one byte for it: how many pairs came to be is only known now.
local function end_map(head, at, count)
  if count < 16 then
    base[head] = 0x80 + count
    return at
  end
  ffi.C.memmove(base + head + 3, base + head + 1, at - head - 1)
  put_head(head, count, 0x80, 16, 0xde)
  return at + 2
end

-- Fields, each put when it is there: the place and the count of the map behind it.
local function text_field(at, count, name, v)
  if not v then return at, count end
  return put_text(put_bytes(at, name), v), count + 1
end

local function number_field(at, count, name, v)
  if not v then return at, count end
  return put_number(put_bytes(at, name), v), count + 1
end

local function flag_field(at, count, name, v)
  if not v then return at, count end
  return put_bytes(put_bytes(at, name), TRUE), count + 1
end

-- A value as decisions.lua keeps it: its bytes, how many they were, or { fault }.
local KEPT = {}
for _, name in ipairs { "before", "after", "answer", "payload" } do
  KEPT[name] = { bytes = pack.string(name), size = pack.string(name .. "_size"), fault = pack.string(name .. "_fault") }
end

local function put_kept(at, name, kept)
  if type(kept) == "string" then return (put_bytes(put_bytes(at, name.bytes), kept)) end
  if type(kept) == "number" then return (put_number(put_bytes(at, name.size), kept)) end
  return (put_text(put_bytes(at, name.fault), kept.fault))
end

local function put_none(at, name) return (put_bytes(put_bytes(at, name.bytes), NIL)) end

local function put_command(at, words)
  local count = min(#words, LIST_MOST)
  at = put_head(at, count, 0x90, 16, 0xdc)
  for n = 1, count do at = put_text(at, words[n]) end
  return at
end

---The first words of a command, packed.
function decision_pack.command(words) return (ffi.string(base, put_command(0, words))) end

-- ── effects ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

-- RESP: "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n" -> { "GET", "k" }.
local function words_of(bytes)
  local count, at = bytes:match "^%*(%d+)\r\n()"
  local words = {}
  for n = 1, tonumber(count) do
    local len, start = bytes:match("^%$(%d+)\r\n()", at)
    words[n] = bytes:sub(start, start + len - 1)
    at = start + len + 2
  end
  return words
end

-- An emit is { stream, event }, its event a value or, of an output in JSON, its text; any other write { command }.
-- In the engine this is C (decision_pack.c); the test kit has none and does the same in Lua.
local function put_effect_in_lua(at, bytes)
  local words = words_of(bytes)
  local payload, count = words[#words], #words
  if words[1] ~= "XADD" or words[count - 1] ~= "data" or words[count - 2] ~= "*" then
    return end_map(at, put_command(put_bytes(at + 1, N.command), words), 1)
  end
  local head = at
  at = text_field(at + 1, 0, N.stream, words[2])
  local first = payload:byte() or 0
  if #payload > VALUE_MOST then
    at = number_field(at, 1, N.event_size, #payload)
  elseif (first >= 0x80 and first <= 0x8f) or first == 0xde or first == 0xdf then
    at = put_bytes(put_bytes(at, N.event), payload)
  else
    at = put_string(put_bytes(at, N.json), payload)
  end
  return end_map(head, at, 2)
end

ffi.cdef [[
uint32_t pack_effect(uint8_t *, const char *, size_t);
struct plain_decision {
  const char *lead; size_t lead_len; double us; bool is_ran; const char *text; size_t text_len;
  const char *before, *after; size_t before_len, after_len; uint32_t version, first_effect, effect_count;
};
uint32_t pack_decision(const struct bridge *, uint8_t *, const struct plain_decision *);
]]
local native = pcall(function() return ffi.C.pack_effect end)

local put_effect
if native then
  local pack_effect = ffi.C.pack_effect
  put_effect = function(at, c, effect) return at + pack_effect(base + at, c.out.data + effect.at, effect.len) end
else
  put_effect = function(at, c, effect)
    return (put_effect_in_lua(at, ffi.string(c.out.data + effect.at, effect.len)))
  end
end

-- Behind the number of an effect of the batch: that of the next one of the same decision.
local next_effect = {}

-- What the batch wants done goes to the decisions that wanted it. (Of the effects themselves, so what was taken back is not there.)
local function collect_effects(p)
  local c, at = p.c, p.records.at
  for n = 0, c.effect_count - 1 do
    local effect = c.effects[n]
    local d = at[place(effect.entry, effect.rule)]
    if d and effect.len > 0 then
      d.effect_count = d.effect_count + 1
      if d.last_effect then next_effect[d.last_effect + 0.5] = n else d.first_effect = n end
      d.last_effect = n
    end
  end
end

-- ── one decision ────────────────────────────────────────────────────────────────────────────────────────────────────────

-- The head of a list that has `count` things, of which the first are kept.
local function list_field(at, name, count)
  return (put_head(put_bytes(at, name), min(count, LIST_MOST), 0x90, 16, 0xdc))
end

-- Says how many there were, when not all of them are there.
local function count_field(at, fields, name, count)
  if count > LIST_MOST then return put_number(put_bytes(at, name), count), fields + 2 end
  return at, fields + 1
end

-- Of none before and none after nothing is said: whether a rule has a state at all is only known once it has looked.
local function put_state(at, count, d)
  if not d.before and not d.after then return at, count end
  local head, own = put_bytes(at, N.state), 1
  at = head + 1
  at = d.before and put_kept(at, KEPT.before, d.before) or put_none(at, KEPT.before)
  at, own = number_field(at, own, N.version, d.version)
  if d.after then
    at, own = put_kept(at, KEPT.after, d.after), own + 1
  elseif not d.is_undone then
    at, own = put_none(at, KEPT.after), own + 1
  end
  return end_map(head, at, own), count + 1
end

local function put_effects(at, count, c, d)
  if d.effect_count == 0 then return at, count end
  at = list_field(at, N.effects, d.effect_count)
  local n = d.first_effect
  at = put_effect(at, c, c.effects[n])
  for _ = 2, min(d.effect_count, LIST_MOST) do
    n = next_effect[n + 0.5]
    at = put_effect(at, c, c.effects[n])
  end
  return count_field(at, count, N.effects_count, d.effect_count)
end

local function put_lookups(at, count, d)
  if not d.lookups then return at, count end
  at = list_field(at, N.lookups, d.lookup_count)
  for n = 1, #d.lookups do
    local lookup, head, own = d.lookups[n], at, 1
    at = put_bytes(put_bytes(at + 1, N.command), lookup.command)
    if lookup.refusal then
      at, own = text_field(at, own, N.error, lookup.refusal)
    elseif lookup.answer then
      at, own = put_kept(at, KEPT.answer, lookup.answer), own + 1
    end
    at = end_map(head, at, own)
  end
  return count_field(at, count, N.lookups_count, d.lookup_count)
end

local function put_timers(at, count, d)
  if not d.timers then return at, count end
  at = list_field(at, N.timers, d.timer_count)
  for n = 1, #d.timers do
    local timer, head, own = d.timers[n], at, 0
    at, own = text_field(at + 1, own, timer.due and N.set or N.cancel, timer.name)
    at, own = number_field(at, own, N.due, timer.due)
    if timer.payload then at, own = put_kept(at, KEPT.payload, timer.payload), own + 1 end
    at = end_map(head, at, own)
  end
  return count_field(at, count, N.timers_count, d.timer_count)
end

local function put_window(at, count, window)
  if not window then return at, count end
  local head, own = put_bytes(at, N.window), 0
  at, own = text_field(head + 1, own, N.kind, window.kind)
  at, own = number_field(at, own, N.start, window.start)
  at, own = number_field(at, own, N.stop, window.stop)
  at = window.before and put_kept(at, KEPT.before, window.before) or put_none(at, KEPT.before)
  return end_map(head, put_kept(at, KEPT.after, window.after), own + 2), count + 1
end

local function put_reasons(at, count, d)
  if not d.reasons then return at, count end
  at = list_field(at, N.reasons, d.reason_count)
  for n = 1, #d.reasons do at = put_text(at, d.reasons[n]) end
  return count_field(at, count, N.reasons_count, d.reason_count)
end

---Makes the first fields of all decisions of a rule. (Ahead, because packing needs the buffer, too.)
function decision_pack.prepare(R)
  R.packed_whose = N.rule .. pack.string(cut(R.name)) .. N.version .. pack.string(cut(R.version))
  R.packed_ran, R.packed_filtered = R.packed_whose .. OUTCOMES.ran, R.packed_whose .. OUTCOMES.filtered
end

local plain = native and ffi.new "struct plain_decision"

-- Most decisions, in C (decision_pack.c): nothing is to be said of them that is not a field of that structure.
local function put_plain(at, c, d)
  local R, is_ran, before, after = d.rule, d.outcome == "ran", d.before, d.after
  local lead, text = is_ran and R.packed_ran or R.packed_filtered, is_ran and d.key or d.why
  plain.lead, plain.lead_len, plain.us, plain.is_ran = lead, #lead, floor(d.us + 0.5), is_ran
  plain.text, plain.text_len = text, text and #text or 0
  plain.before, plain.before_len, plain.version = before, before and #before or 0, before and d.version or 0
  plain.after, plain.after_len = after, after and #after or 0
  plain.first_effect, plain.effect_count = d.first_effect or 0, d.effect_count
  return at + ffi.C.pack_decision(c, base + at, plain)
end

local function is_plain(d)
  return native and not d.is_rich and (d.outcome == "ran" or d.outcome == "filtered") and d.us ~= nil
    and type(d.before) ~= "number" and type(d.after) ~= "number" and (d.key == nil or d.why == nil)
end

---A decision as a map:
---  rule, version     whose
---  outcome           "ran", "filtered", "failed", "late" (its windows had closed, and the rule has no on_late)
---  us                µs of running time
---  key
---  why               of "filtered"
---  reason, message, traceback, skipped   of "failed": as in a dead letter; skipped: by on_error, so there is none
---  late_ms           the event came so much later than its rule's watermark
---  reasons           what ctx.reason was told
---  state             { before, after, version (of the one before) }; without `after` it stayed
---  window            { kind, start, stop, before, after }: that the event went into
---  lookups           { command, answer or error }
---  effects           { stream, event } or { command }
---  refused           effects that Redis refused before: letters, and not among `effects`
---  timers            { set, due, payload } or { cancel }
---@param is_small boolean  without what is large
---@return number  the place behind it
local function put_decision(at, c, d, is_small)
  local head, count = at, 3
  at = put_bytes(put_bytes(at + 1, d.rule.packed_whose), OUTCOMES[d.outcome])
  at, count = number_field(at, count, N.us, d.us and floor(d.us + 0.5))
  at, count = text_field(at, count, N.key, d.key)
  at, count = text_field(at, count, N.why, d.why)
  at, count = text_field(at, count, N.reason, d.reason)
  at, count = text_field(at, count, N.message, d.message)
  at, count = flag_field(at, count, N.skipped, d.is_skipped)
  at, count = number_field(at, count, N.late_ms, d.late_ms)
  if is_small then
    at, count = flag_field(at, count, N.cut, true)
    return end_map(head, at, count)
  end
  at, count = text_field(at, count, N.traceback, d.traceback ~= "" and d.traceback)
  at, count = put_reasons(at, count, d)
  if d.has_state then at, count = put_state(at, count, d) end
  at, count = put_window(at, count, d.window)
  at, count = put_lookups(at, count, d)
  at, count = put_effects(at, count, c, d)
  at, count = number_field(at, count, N.refused, d.refused)
  at, count = put_timers(at, count, d)
  return end_map(head, at, count)
end

-- The decisions of a record in the order of the rules' names; how many bytes, and how many decisions did not fit.
local function put_record(c, record, most)
  local count, at = record.count, put_head(0, record.count, 0x90, 16, 0xdc)
  local first = at
  for n = 1, count do
    local d = record[n]
    local behind = at + most + 1
    if most > 0 then behind = is_plain(d) and put_plain(at, c, d) or put_decision(at, c, d, false) end
    if behind - first > most then behind = put_decision(at, c, d, true) end
    if behind - first > RULES_MOST then
      put_head(0, n - 1, 0x90, count < 16 and 16 or 0, 0xdc)
      return at, count - n + 1
    end
    at = behind
  end
  return at, 0
end

-- ── a batch ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

---Hands the records of a batch that is done to the host:
---host.decision(c, entry, bytes, len, how many did not fit, reason, message), the last two of what could not be decoded, else "".
function decision_pack.write(K, p)
  local used, c, last, decision, list = 0, p.c, p.last, K.host.decision, p.records.list
  collect_effects(p)
  for n = 1, p.records.count do
    local record = list[n]
    local i = record.entry
    if i >= FIRED or i <= last then
      local len, left_out = put_record(c, record, used < BATCH_MOST and RULES_MOST or 0)
      used = used + len
      decision(c, i, base, len, left_out, record.reason or "", record.message and cut(record.message) or "")
    end
  end
  p.records = nil
end

-- What runs once for each record, for decisions.lua to have it compiled or not.
decision_pack.RARELY = { is_plain, put_plain, put_record, decision_pack.write }

return decision_pack
