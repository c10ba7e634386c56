-- testing_host.lua: the kernel's host of the test kit: what bridge.c is in the engine, in plain Lua over the same structures.
--
-- "Redis" is `stored`, the states by rule and key. As in the engine a batch works on slots, keeps what they held before, and
-- either commits or is discarded; with `cold` no slot outlives its batch, so that every state must be fetched.
local ffi = require "tidemill.cdef"
local call = require "tidemill.call"
local commands = require "tidemill.testing_commands"
local entry = require "tidemill.entry"
local json = require "tidemill.json"
local pack = require "tidemill.pack"
local shape = require "tidemill.shape"
local testing_timers = require "tidemill.testing_timers"
local timers = require "tidemill.timers"
local unpack_reader = require("tidemill.unpack").reader
local pairs = require("tidemill.each").pairs

local host = {}

local STRING, MAP, TRUE, FALSE = ("s"):byte(), ("m"):byte(), ("t"):byte(), ("f"):byte()
local OBJECT = ("{"):byte() -- what a value of JSON begins with
local SIGNATURE_ROWS, SHAPES_MOST, SHAPE_DEPTH = 128, 1024, 32 -- as in rules/shapes.c
local STATE_DEPTH, STATE_TOKENS = 128, 16777216

local Host = {}
Host.__index = Host

-- ── shapes ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

-- Two maps have the same signature only if all their names, types and nesting are the same. nil: no shape.
local function signature(tokens, at, parts, depth)
  if depth > SHAPE_DEPTH then return nil end
  local count = tokens[at].len
  parts[#parts + 1] = ("m%d"):format(count)
  at = at + 1
  for _ = 1, count do
    local name, v = tokens[at], tokens[at + 1]
    if name.type ~= STRING or #parts + 2 > SIGNATURE_ROWS then return nil end
    parts[#parts + 1] = ("k%d:%s"):format(name.len, ffi.string(name.bytes, name.len))
    if v.type == MAP then
      if not signature(tokens, at + 1, parts, depth + 1) then return nil end
    else
      parts[#parts + 1] = string.char(v.type == FALSE and TRUE or v.type)
    end
    at = at + 1 + v.size
  end
  return parts
end

function Host:shape_number(tokens, at)
  if tokens[at].type ~= MAP then return -1 end
  local parts = signature(tokens, at, {}, 1)
  if not parts then return -1 end
  local text = table.concat(parts)
  local number = self.shapes[text]
  if not number and self.shape_count < SHAPES_MOST then
    number = self.shape_count
    self.shapes[text], self.shape_count = number, number + 1
  end
  return number or -1
end

-- ── a batch ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

-- `kept`: { bytes, head, expiry_ms, version }, as in `stored`; nil for no state.
local NONE = { head = 0, expiry_ms = 0, version = 0 }

local function set_kept(slot, kept)
  local view, bytes = slot.view, kept and kept.bytes
  slot.kept, view.bytes = kept, bytes -- the string is kept by `slot`
  kept = kept or NONE
  view.len, view.head, view.expiry_ms, view.version = bytes and #bytes or 0, kept.head, kept.expiry_ms, kept.version
end

local function set_fault(c, text)
  ffi.copy(c.fault, text:sub(1, 500))
  return -2
end

---Puts entries `first` to `last` of `items` where the kernel finds them: { stream, ms, seq, bytes, texts, only, attempts }.
function Host:put_batch(items, first, last)
  local c, count = self.c, last - first + 1
  local entries = ffi.new("struct batch_entry[?]", math.max(1, count))
  self.items, self.entries = {}, entries
  local clock = c.clock_ms
  for i = 0, count - 1 do
    local item, e = items[first + i], entries[i]
    if item.attempts == 0 and item.ms > clock then clock = item.ms end
    e.ms, e.clock_ms, e.seq, e.size = item.ms, clock, item.seq, item.size
    e.stream, e.only, e.attempts = item.stream, item.only, item.attempts
    self.items[i] = item
  end
  for i = count - 1, 0, -1 do
    local follows = i + 1 < count and items[first + i + 1].stream == items[first + i].stream
      and items[first + i + 1].only == items[first + i].only
    entries[i].run_end = follows and entries[i + 1].run_end or i
  end
  c.entries, c.entry_count = entries, count
  self.first_clock, c.until_ms = c.clock_ms, 0
  if self.is_cold then self.slots, self.slot_of = {}, {} end
end

---Puts a batch of no entries: time has come to `ms`.
function Host:put_tick(ms)
  self:put_batch({}, 1, 0)
  self.c.until_ms = ms
end

function Host:discard()
  local c = self.c
  for slot, before in pairs(self.changed) do set_kept(slot, before or nil) end
  self.changed, self.letters, self.lines, self.reasons, self.shadows, self.decisions = {}, {}, {}, {}, {}, {}
  self.wants, self.requests, self.answers = {}, {}, {}
  c.effect_count, c.letter_count, c.out.len, c.is_unordered, c.clock_ms = 0, 0, 0, 0, self.first_clock
  self.timers:discard()
end

-- The rank of an entry in the batch, what fired in front of it included.
function Host:rank(i) return i >= 0 and entry.position(self.c, i) or -1 end

-- RESP: "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n" -> { "GET", "k" }
local function read_command(bytes)
  local argv, at = {}, bytes:find("\n", 1, true) + 1
  for n = 1, tonumber(bytes:match "^%*(%d+)") do
    local len, start = bytes:match("^%$(%d+)\r\n()", at)
    argv[n] = bytes:sub(start, start + len - 1)
    at = start + len + 2
  end
  return argv
end

-- Brings the effects into the order in which the engine would send them, those taken back left out.
function Host:order_effects()
  local c, list = self.c, {}
  if c.is_unordered == 0 then return end
  for n = 0, c.effect_count - 1 do
    if c.effects[n].len > 0 then list[#list + 1] = ffi.new("struct effect", c.effects[n]) end
  end
  table.sort(list, function(a, b)
    if a.entry ~= b.entry then return self:rank(a.entry) < self:rank(b.entry) end
    if a.rule ~= b.rule then return a.rule < b.rule end
    return a.ordinal < b.ordinal
  end)
  for n, effect in ipairs(list) do c.effects[n - 1] = effect end
  c.effect_count, c.is_unordered = #list, 0
end

function Host:take_effects()
  local c, list = self.c, {}
  self:order_effects()
  for n = 0, c.effect_count - 1 do
    local e = c.effects[n]
    list[n + 1] = {
      entry = e.entry, rule = e.rule, ordinal = e.ordinal, argv = read_command(ffi.string(c.out.data + e.at, e.len)),
    }
  end
  return list
end

local function in_order(self, list)
  for n, item in ipairs(list) do item.place = n end
  table.sort(list, function(a, b)
    if a.entry ~= b.entry then return self:rank(a.entry) < self:rank(b.entry) end
    if a.rule_index ~= b.rule_index then return a.rule_index < b.rule_index end
    return a.place < b.place
  end)
  return list
end

---What the batch did: effects, letters, log lines, reasons. Its states are stored from now on.
function Host:commit()
  local writes = 0
  for slot in pairs(self.changed) do
    writes = writes + 1
    self.stored[slot.rule] = self.stored[slot.rule] or {} -- windows have numbers of their own
    self.stored[slot.rule][slot.key] = slot.kept
  end
  local done = {
    effects = self:take_effects(), letters = in_order(self, self.letters), lines = in_order(self, self.lines),
    reasons = in_order(self, self.reasons), shadows = self.shadows, writes = writes, fired = self.c.fired_count,
    decisions = self.decisions,
  }
  self.timers:commit()
  self.changed, self.letters, self.lines, self.reasons, self.shadows, self.decisions = {}, {}, {}, {}, {}, {}
  self.c.effect_count, self.c.out.len = 0, 0
  return done
end

-- ── states ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

-- Brings a state from `stored` into its slot.
function Host:load_slot(rule, key)
  local of_rule = self.slots[rule]
  if not of_rule then
    of_rule = {}
    self.slots[rule] = of_rule
  end
  if of_rule[key] then return of_rule[key] end
  local slot = { rule = rule, key = key, view = ffi.new "struct state_slot" }
  set_kept(slot, self.stored[rule] and self.stored[rule][key])
  of_rule[key], self.slot_of[slot.view] = slot, slot
  return slot
end

---Sets what is stored, from outside of any batch: { bytes, head, expiry_ms, version }, or nil.
function Host:set_stored(rule, key, kept)
  self.stored[rule][key] = kept
  local slot = self.slots[rule] and self.slots[rule][key]
  if slot then set_kept(slot, kept) end
end

-- ── what the kernel calls ───────────────────────────────────────────────────────────────────────────────────────────────

-- What is told of an entry: of a stream, or of what fired.
function Host:item(i)
  if i < entry.FIRED then return self.items[i] end
  local fired = self.c.fired[i - entry.FIRED]
  local name, is_window = ffi.string(fired.name, fired.name_len), fired.kind == timers.WINDOW
  local span = fired.stop_ms > 0 and ("%.0f-%.0f"):format(fired.start_ms, fired.stop_ms) or name
  return {
    name = "", id = ("%.0f"):format(fired.entry.ms), attempts = fired.entry.attempts,
    timer = not is_window and name or nil, window = is_window and span or nil,
  }
end

-- Fields may stand in any order in a map, and so its bytes.
local function is_equal(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b or (a ~= a and b ~= b) end
  if getmetatable(a) ~= getmetatable(b) then return false end
  for k, v in pairs(a) do
    if not is_equal(v, b[k]) then return false end
  end
  for k in pairs(b) do
    if a[k] == nil then return false end
  end
  return true
end

local function functions_of(self)
  local f = self.timers:functions()

  function f.decode(c, i)
    local item, limits = self.items[i], self.limits
    f.note()
    c.clock_ms = c.entries[i].clock_ms
    c.texts = item.texts and 1 or 0
    if item.size > limits.event_bytes then
      return set_fault(c, ("the entry has %d bytes, more than limits.event_kb allows (%d)"):format(item.size, limits.event_bytes))
    end
    local bytes = item.bytes
    if bytes:byte() == OBJECT then
      local packed, fault = json.to_msgpack(bytes, limits.event_depth)
      if not packed then return set_fault(c, "JSON: " .. fault) end
      bytes, item.read = packed, packed -- kept, because the tokens point into it
    end
    local ok, why = self.event_reader:read(bytes, limits.event_depth, limits.event_elements)
    if not ok then return set_fault(c, "msgpack: " .. why) end
    if c.event_tokens.list[0].type ~= MAP then return set_fault(c, "msgpack: the event must be a map") end
    return self:shape_number(c.event_tokens.list, 0)
  end

  f.mark = ffi.new "struct mark"

  function f.note()
    local mark = f.mark
    mark.rule, mark.serial = 0, (mark.serial + 1) % 4294967296
    mark.leaving, mark.is_full, mark.is_seen, mark.spent_us = 0, 0, 0, 0
  end

  function f.find(_, rule, key)
    local slot = self.slots[rule] and self.slots[rule][key]
    if not slot and not self.is_cold then slot = self:load_slot(rule, key) end
    return slot and slot.view
  end

  function f.want(_, rule, key) self.wants[#self.wants + 1] = { rule, key } end

  function f.state_tokens(c, view)
    assert(self.state_reader:read(self.slot_of[view].kept.bytes, STATE_DEPTH, STATE_TOKENS))
    return self:shape_number(c.state_tokens.list, 3)
  end

  function f.put(_, view, bytes, len, head, expiry_ms, version)
    local slot = self.slot_of[view]
    local kept, new = slot.kept, nil
    f.mark.rule = 0
    if len > 0 then new = { bytes = ffi.string(bytes, len), head = head, expiry_ms = expiry_ms, version = version } end
    if not new and not kept then return end
    if new and kept and version == kept.version and new.bytes:sub(head + 1) == kept.bytes:sub(kept.head + 1) then return end
    if self.changed[slot] == nil then self.changed[slot] = kept or false end
    set_kept(slot, new)
  end

  function f.discard() self:discard() end

  function f.letter(c, i, rule, version, reason, message, traceback, key, payload)
    local item = self:item(i)
    c.letter_count = c.letter_count + 1
    self.letters[#self.letters + 1] = {
      entry = i, rule_index = self.rule_index[rule] or 0, rule = rule, version = version, reason = reason, message = message,
      traceback = traceback, key = key, payload = payload, stream = item.name, id = item.id, attempts = item.attempts + 1,
      timer = item.timer, window = item.window,
    }
  end

  function f.log(level, rule, _, text)
    local p = call.partition
    self.lines[#self.lines + 1] = {
      entry = p and p.c.at_entry or -1, rule_index = self.rule_index[rule] or 0, level = level, rule = rule, text = text,
    }
  end

  function f.reason(R, text)
    self.reasons[#self.reasons + 1] = {
      entry = self.c.at_entry, rule_index = R.index, rule = R.name, id = self:item(self.c.at_entry).id, reason = text,
    }
  end

  function f.decision(c, i, rules, len, left_out, reason, message)
    local item, is_fired = self:item(i), i >= entry.FIRED
    self.decisions[#self.decisions + 1] = {
      stream = not is_fired and item.name or nil, id = item.id, timer = item.timer, window = item.window,
      bytes = ffi.string(rules, len),
      attempts = item.attempts > 0 and item.attempts or nil,
      key = is_fired and ffi.string(c.fired[i - entry.FIRED].key, c.fired[i - entry.FIRED].key_len) or nil,
      rule = is_fired and self.rule_names[tonumber(c.fired[i - entry.FIRED].entry.only)] or nil,
      left_out = left_out > 0 and left_out or nil, reason = reason ~= "" and reason or nil,
      message = message ~= "" and message or nil,
    }
  end

  -- A handler is run again from its start: what it logged so far did not happen.
  function f.redo(_, i, R)
    for _, list in ipairs { self.lines, self.reasons } do
      for n = #list, 1, -1 do
        if list[n].entry == i and list[n].rule_index == R.index then table.remove(list, n) end
      end
    end
  end

  -- The kernel keeps what it knows of clocks; there is nothing else to be kept.
  function f.seen() end

  function f.clock() return self.time() end

  function f.cpu_us() return os.clock() * 1e6 end

  f.cpu_about_us = f.cpu_us

  -- The token of the value of an event's field; -1: it has none.
  function f.field(c, name)
    local list, at, found = c.event_tokens.list, 1, -1
    for _ = 1, list[0].len do
      local key, k = list[at], shape.build(list, at)
      local v = at + key.size
      if k == name or (type(k) == "cdata" and tostring(k) == name) then found = v end
      at = v + list[v].size
    end
    return found
  end

  local function room(buf, more)
    if buf.cap - buf.len >= more then return end
    local cap = math.max(4096, tonumber(buf.cap) * 2, tonumber(buf.len) + more)
    local data = ffi.new("char[?]", cap)
    ffi.copy(data, buf.data, buf.len)
    self.out, buf.data, buf.cap = data, data, cap
  end

  function f.effect(c, rule, ordinal, bytes, len)
    local n = c.effect_count
    if n == c.effect_cap then
      local cap = math.max(64, c.effect_cap * 2)
      local effects = ffi.new("struct effect[?]", cap)
      ffi.copy(effects, c.effects, ffi.sizeof "struct effect" * n)
      self.effects, c.effects, c.effect_cap = effects, effects, cap
    end
    room(c.out, len)
    local start = c.out.len
    ffi.copy(c.out.data + start, bytes, len)
    c.out.len = start + len
    local effect = c.effects[n]
    effect.at, effect.len, effect.entry, effect.rule, effect.ordinal = start, len, c.at_entry, rule, ordinal
    effect.key_len = 0
    c.effect_count = n + 1
  end

  function f.emit(c, rule, ordinal, head, _, payload, len)
    local bytes = type(payload) == "string" and payload or ffi.string(payload, len)
    local command = head .. len .. "\r\n" .. bytes .. "\r\n"
    f.effect(c, rule, ordinal, command, #command)
  end

  function f.note_key(c, key)
    local effect = c.effects[c.effect_count - 1]
    effect.key_at, effect.key_len = c.effect_count, #key
    self.effect_keys[c.effect_count] = key
  end

  function f.order() self:order_effects() end

  -- What a rule wanted, a wish of shadow.lua, as a list.
  local function effects_of(c, wish)
    local list = {}
    for n = 1, wish and wish.count or 0 do
      local effect = c.effects[wish.first + n - 1]
      list[n] = host.effect_of(self, read_command(ffi.string(c.out.data + effect.at, effect.len)))
    end
    return list
  end

  function f.wish_effects(c, wish) return (pack.string(effects_of(c, wish))) end

  function f.is_same(a, b) return is_equal(self:decode(a), self:decode(b)) end

  local function key_of(c, wish)
    if wish.count == 0 then return wish.failure and wish.failure.key or "" end
    local effect = c.effects[wish.first]
    return effect.key_len > 0 and self.effect_keys[effect.key_at] or ""
  end

  function f.shadow_record(c, R, would, did)
    local failure, did_failure = would and would.failure, did and did.failure
    local wanted, done = effects_of(c, would), effects_of(c, did)
    local is_same = (failure and failure.reason) == (did_failure and did_failure.reason) and is_equal(wanted, done)
    local wish = would or did
    self.shadows[#self.shadows + 1] = {
      rule = R, item = self:item(wish.entry), key = key_of(c, wish), would = wanted, did = done, failure = failure,
      did_failure = did_failure, is_same = is_same,
    }
    return is_same
  end

  -- JSON is only written by the engine; here the fields stay msgpack, to be looked at.
  function f.to_json(bytes, len) return ffi.string(bytes, len) end

  function f.check_command(_, argv) return commands.check(argv, self.is_input) end

  function f.request(_, argv) self.requests[#self.requests + 1] = argv end

  function f.answer(_, n)
    local answer = self.answers[n + 1]
    return answer.value, answer.refusal
  end

  function f.is_refused(p, R, ordinal)
    local item = self:item(p.c.at_entry)
    return self.refused[("%s %s %d"):format(R.name, item.id, ordinal)] == true
  end

  return f
end

---The states that the kernel waits for are fetched; the lookups are left to the caller, in `requests`.
function Host:fetch_states()
  for _, want in ipairs(self.wants) do self:load_slot(want[1], want[2]) end
  self.wants = {}
end

---A command as a spec has it: { stream, fields } when it emits an event (XADD of one field, `data`, that holds a table), else
---{ command = its words }.
function host.effect_of(self, argv)
  local is_emit = argv[1] == "XADD" and argv[#argv - 1] == "data" and argv[#argv - 2] == "*"
  local fields = is_emit and self:decode(argv[#argv])
  if type(fields) == "table" then return { stream = argv[2], fields = fields } end
  return { command = argv }
end

---The value of msgpack bytes, as rules see it.
function Host:decode(bytes)
  if not self.spare_tokens then
    self.spare_tokens = ffi.new "struct tokens"
    self.spare_reader = unpack_reader(self.spare_tokens)
  end
  local ok = self.spare_reader:read(bytes, STATE_DEPTH, STATE_TOKENS)
  if not ok then return nil end
  return (shape.build(self.spare_tokens.list, 0))
end

---@param options { limits: table, is_cold: boolean, is_input: fun(key: string): boolean, rules: table[] }
function host.create(options)
  local c = ffi.new "struct bridge"
  local self = setmetatable({
    c = c, limits = options.limits, is_cold = options.is_cold, is_input = options.is_input, items = {},
    shapes = {}, shape_count = 0, slots = {}, slot_of = {}, changed = {}, stored = {}, rule_index = {}, rule_names = {},
    letters = {}, lines = {}, reasons = {}, shadows = {}, decisions = {}, effect_keys = {}, wants = {}, requests = {},
    answers = {}, refused = {}, first_clock = 0,
    time = function() return 0 end,
    event_reader = unpack_reader(c.event_tokens), state_reader = unpack_reader(c.state_tokens),
  }, Host)
  c.deadline_ms = math.huge
  self.timers = testing_timers.create(c, #options.rules)
  for index, R in ipairs(options.rules) do
    self.stored[index], self.rule_index[R.name], self.rule_index[R.base_name] = {}, index, index
    self.rule_names[index] = R.name
  end
  self.functions = functions_of(self)
  return self
end

host.Host = Host -- for specs of the specs

return host
