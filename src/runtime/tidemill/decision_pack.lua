-- decision_pack.lua: records of decisions (decisions.lua) as bytes: for each recorded event, or timer or window that fired, an
-- array with a map for each rule. docs of the fields: see `encode`.
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
local char, floor, concat = string.char, math.floor, table.concat

---A text of bounded length.
function decision_pack.cut(text)
  if #text > TEXT_MOST then return text:sub(1, TEXT_MOST) .. " ..." end
  return text
end

local cut = decision_pack.cut

-- ── msgpack, put together of pieces that are packed already ─────────────────────────────────────────────────────────────

local NIL, TRUE = "\192", "\195"

local function number16(n) return char(floor(n / 256) % 256, n % 256) end

local function map_of(count, parts)
  local head = count < 16 and char(0x80 + count) or "\222" .. number16(count)
  return head .. concat(parts)
end

local function array_of(list)
  local head = #list < 16 and char(0x90 + #list) or "\220" .. number16(#list)
  return head .. concat(list)
end

local function text(v) return (pack.string(cut(v))) end

local function packed_number(v) return (pack.string(v)) end

local NAMES = {}

-- Of the few texts that are the same in all records.
local function packed_name(name)
  local bytes = NAMES[name]
  if not bytes then
    bytes = pack.string(name)
    NAMES[name] = bytes
  end
  return bytes
end

-- A map that grows: its fields in the order in which they are put.
local Map = {}
Map.__index = Map

local function new_map() return setmetatable({ count = 0 }, Map) end

function Map:put(name, bytes)
  if not bytes then return end
  local at = 2 * self.count
  self[at + 1], self[at + 2], self.count = packed_name(name), bytes, self.count + 1
end

function Map:text(name, v) if v then self:put(name, text(v)) end end

function Map:number(name, v) if v then self:put(name, packed_number(v)) end end

function Map:flag(name, v) if v then self:put(name, TRUE) end end

function Map:bytes() return map_of(self.count, self) end

-- A value as decisions.lua keeps it: { bytes }, or { size }, or { fault }.
local function put_kept(map, name, kept)
  if kept.bytes then return map:put(name, kept.bytes) end
  map:number(name .. "_size", kept.size)
  map:text(name .. "_fault", kept.fault)
end

-- ── effects ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

-- The number of a line such as "$12\r\n", and where the next line begins.
local function number_at(bytes, at)
  local number, digit = 0, bytes:byte(at + 1)
  at = at + 1
  while digit ~= 13 do
    number, at = number * 10 + digit - 48, at + 1
    digit = bytes:byte(at)
  end
  return number, at + 2
end

-- RESP: "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n" -> { "GET", "k" }. (By hand, because patterns are not compiled.)
local function words_of(bytes)
  local count, at = number_at(bytes, 1)
  local words = {}
  for n = 1, count do
    local len, start = number_at(bytes, at)
    words[n] = bytes:sub(start, start + len - 1)
    at = start + len + 2
  end
  return words
end

---The first words of a command.
function decision_pack.command(words)
  local list = {}
  for n = 1, math.min(#words, LIST_MOST) do list[n] = text(words[n]) end
  return array_of(list)
end

-- An emit is { stream, event }, its event a value or, of an output in JSON, its text; any other write { command }.
local function effect_of(bytes)
  local words, map = words_of(bytes), new_map()
  local payload, count = words[#words], #words
  if words[1] ~= "XADD" or words[count - 1] ~= "data" or words[count - 2] ~= "*" then
    map:put("command", decision_pack.command(words))
    return map:bytes()
  end
  map:text("stream", words[2])
  local first = payload:byte() or 0
  local is_map = (first >= 0x80 and first <= 0x8f) or first == 0xde or first == 0xdf
  if #payload > VALUE_MOST then
    map:number("event_size", #payload)
  elseif is_map then
    map:put("event", payload)
  else
    map:put("json", (pack.string(payload)))
  end
  return map:bytes()
end

-- What the batch wants done goes to the decisions that wanted it, as numbers: the bytes of all would be too much at once. (Of the
-- effects themselves, so what was taken back is not there.)
local function collect_effects(K, p)
  local c, by_entry, rules = p.c, p.records.by_entry, K.rules
  for n = 0, c.effect_count - 1 do
    local effect = c.effects[n]
    local record = effect.len > 0 and by_entry[effect.entry + 0.5]
    local d = record and record.by_rule[rules[effect.rule]]
    if d then
      d.effect_count = (d.effect_count or 0) + 1
      if d.effect_count == 1 then d.effects = {} end
      if d.effect_count <= LIST_MOST then d.effects[d.effect_count] = n end
    end
  end
end

-- ── one decision ────────────────────────────────────────────────────────────────────────────────────────────────────────

-- Says how many there were, when not all of them are there.
local function put_list(map, name, list, count)
  if not list then return end
  map:put(name, array_of(list))
  if count > #list then map:number(name .. "_count", count) end
end

-- Of none before and none after nothing is said: whether a rule has a state at all is only known once it has looked.
local function put_state(map, state)
  if not state or not (state.before or state.after) then return end
  local own = new_map()
  if state.before then put_kept(own, "before", state.before) else own:put("before", NIL) end
  own:number("version", state.version)
  if state.after then
    put_kept(own, "after", state.after)
  elseif not state.is_undone then
    own:put("after", NIL)
  end
  map:put("state", own:bytes())
end

local function put_effects(map, c, d)
  local list = {}
  for n, number in ipairs(d.effects or {}) do
    local effect = c.effects[number]
    list[n] = effect_of(ffi.string(c.out.data + effect.at, effect.len))
  end
  put_list(map, "effects", list[1] and list, d.effect_count)
end

local function put_lookups(map, d)
  local list = {}
  for n, lookup in ipairs(d.lookups or {}) do
    local own = new_map()
    own:put("command", lookup.command)
    if lookup.refusal then
      own:text("error", lookup.refusal)
    elseif lookup.answer then
      put_kept(own, "answer", lookup.answer)
    end
    list[n] = own:bytes()
  end
  put_list(map, "lookups", list[1] and list, d.lookup_count)
end

local function put_timers(map, d)
  local list = {}
  for n, timer in ipairs(d.timers or {}) do
    local own = new_map()
    own:text(timer.due and "set" or "cancel", timer.name)
    own:number("due", timer.due)
    if timer.payload then put_kept(own, "payload", timer.payload) end
    list[n] = own:bytes()
  end
  put_list(map, "timers", list[1] and list, d.timer_count)
end

local function put_window(map, window)
  if not window then return end
  local own = new_map()
  own:text("kind", window.kind)
  own:number("start", window.start)
  own:number("stop", window.stop)
  if window.before then put_kept(own, "before", window.before) else own:put("before", NIL) end
  put_kept(own, "after", window.after)
  map:put("window", own:bytes())
end

local function put_reasons(map, d)
  local list = {}
  for n, one in ipairs(d.reasons or {}) do list[n] = text(one) end
  put_list(map, "reasons", list[1] and list, d.reason_count)
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
local function encode(c, d, is_small)
  local map, R = new_map(), d.rule
  R.packed_name, R.packed_version = R.packed_name or text(R.name), R.packed_version or text(R.version)
  map:put("rule", R.packed_name)
  map:put("version", R.packed_version)
  map:put("outcome", packed_name(d.outcome))
  map:number("us", d.us and floor(d.us + 0.5))
  map:text("key", d.key)
  map:text("why", d.why)
  map:text("reason", d.reason)
  map:text("message", d.message)
  map:flag("skipped", d.is_skipped)
  map:number("late_ms", d.late_ms)
  if is_small then
    map:flag("cut", true)
    return map:bytes()
  end
  map:text("traceback", d.traceback ~= "" and d.traceback)
  put_reasons(map, d)
  put_state(map, d.state)
  put_window(map, d.window)
  put_lookups(map, d)
  put_effects(map, c, d)
  map:number("refused", d.refused)
  put_timers(map, d)
  return map:bytes()
end

-- The decisions of a record in the order of the rules' names, as bytes; and how many did not fit.
local function encode_all(c, record, most)
  local list, used = {}, 0
  for _, d in ipairs(record.list) do
    local bytes = most > 0 and encode(c, d, false)
    if not bytes or used + #bytes > most then bytes = encode(c, d, true) end
    if used + #bytes > RULES_MOST then break end
    list[#list + 1], used = bytes, used + #bytes
  end
  return array_of(list), #record.list - #list
end

-- ── a batch ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

---Hands the records of a batch that is done to the host:
---host.decision(c, entry, decisions, how many did not fit, reason, message), the last two of what could not be decoded, else "".
function decision_pack.write(K, p)
  local used, c, last, decision = 0, p.c, p.last, K.host.decision
  collect_effects(K, p)
  for _, record in ipairs(p.records.list) do
    local i = record.entry
    if i >= FIRED or i <= last then
      local bytes, left_out = encode_all(c, record, used < BATCH_MOST and RULES_MOST or 0)
      used = used + #bytes
      decision(c, i, bytes, left_out, record.reason or "", cut(record.message or ""))
    end
  end
  p.records = nil
end

return decision_pack
