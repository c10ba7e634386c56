-- kernel.lua: everything about rules that is not bytes or sockets. It runs batches of events through rules and collects
-- what they want done; it knows neither Redis nor where events come from (that is the host: the engine in C, or the test
-- kit).
--
--   begin(partition, last) ──> run ──done──> effects, letters, changed states are in the bridge `c`
--                               │  ▲
--                               wait (states and lookups wanted) ── host fetches ── run again
--
-- Promises:
-- (1) A handler that fails leaves nothing: its state is only stored after it returned, its effects are taken back.
-- (2) Events of one key of one rule run one after the other, in order, whatever waits for what.
-- (3) Effects carry (entry, rule, ordinal): the host puts them in this order, whichever finished first.
-- (4) `run` may be repeated from `begin` with a smaller `last` at any time (a cut): nothing of the first try remains.
-- (5) A rule that is over its time is stopped between any two instructions while `mark.rule` names it, so what the kernel
--     does meanwhile must be safe to break off. Where it changes what it remembers of waiting events, `mark.rule` is 0.
local ffi = require "tidemill.cdef"
local call = require "tidemill.call"
local clocks = require "tidemill.clocks"
local entry = require "tidemill.entry"
local firing = require "tidemill.firing"
local migration = require "tidemill.migration"
local value = require "tidemill.value"
local pack = require "tidemill.pack"
local shape = require "tidemill.shape"
local step = require "tidemill.step"
local context = require "tidemill.context"
local decisions = require "tidemill.decisions"
local health = require "tidemill.health"
local limits = require "tidemill.limits"
local memory = require "tidemill.memory"
local shadow = require "tidemill.shadow"
local tasks = require "tidemill.tasks"
local timers = require "tidemill.timers"
local unpack_reader = require("tidemill.unpack").reader
local windows = require "tidemill.windows"

local kernel = {}
kernel.__index = kernel

local UNWIND = call.UNWIND
local raw_get, type, next = rawget, type, next

local LETTER_TEXT = 4096 -- bytes of a message or traceback that a letter keeps

-- What a slot holds, whatever its version: built by a constructor per shape, as events are.
local function state_reader(K)
  local host, readers = K.host, {}
  local build = shape.build
  return function(c, slot)
    local s = host.state_tokens(c, slot)
    local tokens = c.state_tokens.list
    if s >= 0 then
      local reader = readers[s]
      if not reader then
        reader = shape.constructor(tokens, 3)
        readers[s] = reader
      end
      return (reader(tokens)) -- in parentheses everywhere on the hot path: LuaJIT gives up on a trace with many tail calls
    end
    return (build(tokens, 3))
  end
end

-- The state that a handler gets; nil when another version of its rule left it (then K.migrated gives it). An expired one is
-- empty, whoever left it.
local function state_getter(K)
  local read = K.read_state
  return function(c, slot, version)
    if slot.len == 0 or (slot.expiry_ms ~= 0 and slot.expiry_ms <= c.clock_ms) then return {} end
    if slot.version ~= version then return nil end
    return (read(c, slot))
  end
end

-- What msgpack bytes say; nil when they are none.
local function unpacker()
  local tokens = ffi.new "struct tokens"
  local reader = unpack_reader(tokens)
  return function(bytes)
    if not bytes or not reader:read(bytes, 128, 16777216) then return nil end
    return (shape.build(tokens.list, 0))
  end
end

---@param host table    see the head of bridge.c: decode, find, want, put, state_tokens, letter, log, clock …
---@param book table    what rulebook.load returned
---@param settings table  the limits: rule_ms, effects, effect_bytes, state_bytes; is_backtest (rulebook.h); and record, the share of
---events whose decisions are recorded
function kernel.new(host, book, settings)
  local K = setmetatable({
    host = host, call = call, mark = host.mark, rules = book.rules, sources = book.sources, lists = {}, stream_names = {},
    stream_index = {}, key_text = value.key_text, packed = pack.bytes(), pack_state = pack.state,
    vm_bytes = settings.vm_bytes, failing_count = 0, future_ms = settings.future_ms or math.huge,
    STATE_HEAD = pack.STATE_HEAD, pack_value = pack.value, string = ffi.string, unpack = unpacker(),
    peeked = ffi.new "struct timer", clocked = {}, timed = {}, advance = tasks.advance,
  }, kernel)
  call.mark = K.mark
  K.read_state = state_reader(K)
  K.state_of = state_getter(K)
  K.migrated = function(c, R, slot, key) return (migration.run(K, c, R, slot, key)) end
  K.constructor = function(R, tokens, s)
    local build = step.builder(R, tokens)
    R.builders[s] = build
    return build
  end
  K.generic = function(R, tokens)
    local event = shape.build(tokens, 0)
    for _, condition in ipairs(R.filter or {}) do
      local v = event[condition[1]]
      if v == nil or not condition[2][v] then return nil end
    end
    return event
  end
  K.describe_key = function(name, given)
    return given == nil and ("the key '%s' is missing"):format(name)
      or ("the key '%s' must be a string or a number, it is a %s"):format(name, type(given))
  end
  K.fail = function(p, R, i, reason, message, trace) return K:fail_event(p, R, i, reason, message, trace) end
  K.undecodable = function(p, i) return K:undecodable_entry(p, i) end
  K.defer = function(p, R, i, event, key) return tasks.defer(K, p, R, i, event, key) end
  K.must_wait = function(p, R, i, event, key) return (tasks.must_wait(K, p, R, i, event, key)) end
  K.save = function(p, c, R, slot, ctx, i, key) return (K:save_state(p, c, R, slot, ctx, i, key)) end
  K.finish = function(p, c, R, slot, record, ctx, i, key) return (K:keep(p, c, R, slot, record, ctx, i, key)) end
  K.before = function(p, i) return firing.before(K, p, i) end
  K.observe = function(p, i, s, rules) return K:observe_event(p, i, s, rules) end
  K.pass = clocks.pass
  K.state_clock, K.pending = clocks.state_clock, { names = {}, dues = {}, payloads = {}, count = 0 }
  K.on_error = function(err)
    -- First of all, because a time limit may be found passed once more while the stack is being left: from here on there is
    -- nothing to stop, and what it raised would reach the kernel itself. (But the C stack may be all but used up.)
    K.mark.leaving, K.mark.rule = K.mark.rule, 0
    if err ~= UNWIND then call.trace = K:traceback() elseif call.unwind ~= "time" then call.trace = "" end
    return err
  end
  if (settings.record or 0) > 0 then decisions.attach(K, settings.record) end
  for index, R in ipairs(K.rules) do
    R.index, R.builders, R.asks, R.uses_state = index, {}, false, false
    R.id = R.id or index -- its states go by this one, which stays over reloads; effects and the mark by the index
    R.fed_back = 0 -- effects on streams that it reads itself
    -- A back-test writes nothing: there a shadow rule is one like the others.
    if settings.is_backtest then R.is_shadow, R.is_shadowed = nil, nil end
    health.open(R, R.is_shadow and {} or settings) -- a shadow rule is never reported as failing
    R.limits = limits.of_rule(R.own_limits, settings)
    R.is_watched = R.is_shadow or R.is_shadowed -- shadow.lua compares what it wants
    R.notes_keys = settings.is_backtest or R.is_watched -- its effects say for which key (a back-test's do)
    if R.has_clock then K.clocked[#K.clocked + 1] = R end
    if R.on_timer then K.timed[#K.timed + 1] = R end
    if R.window then R.enter = windows.enter_of(R) end
    R.late, R.record, R.time_places, R.time_builders = 0, {}, {}, {}
    R.ctx = context.create(K, R)
    R.spare_contexts, R.spare_coroutines = {}, {}
    R.step = step.of_rule(K, R)
  end
  shadow.open(K)
  return K
end

---A partition with its bridge. Returns the kernel's record of it.
function kernel:open(c)
  local p = {
    c = c, clocks = {}, waiting = {}, waiting_count = 0, parked = {}, questions = {}, lookups = {}, written = {}, refused = nil,
    tracks_writes = false, has_driven = false, last = -1, late = {},
  }
  clocks.open(self, p)
  return p
end

---The number of a stream, and its list of rules, made when the name is first seen.
function kernel:stream(name)
  local index = self.stream_index[name]
  if index then return index end
  local rules = {}
  for _, R in ipairs(self.rules) do
    for _, matches in ipairs(R.matchers) do
      if matches(name) then
        rules[#rules + 1] = R
        break
      end
    end
  end
  index = #self.stream_names + 1
  self.stream_names[index], self.stream_index[name] = name, index
  self.lists[index] = step.of_list(self, rules, name)
  return index
end

-- ── failing ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

local function cut_text(text)
  if #text > LETTER_TEXT then return text:sub(1, LETTER_TEXT) .. " ..." end
  return text
end

-- Takes the effects of (entry, rule) back. Those of a handler that ran straight through are the last ones; those of a task
-- lie anywhere.
function kernel.undo_effects(c, i, index, task)
  local n = c.effect_count
  while n > 0 and c.effects[n - 1].entry == i and c.effects[n - 1].rule == index do
    n = n - 1
    c.out.len = c.effects[n].at
  end
  c.effect_count = n
  if task then
    for k = 0, n - 1 do
      local effect = c.effects[k]
      if effect.entry == i and effect.rule == index then effect.len = 0 end
    end
  end
end

-- The dead letter of a rule; of a shadow rule it is a record of its own (shadow.lua).
local function write_letter(self, p, R, i, reason, message, traceback, key, payload)
  if R.is_watched then shadow.note_failure(p, R, i, reason, message, traceback, key) end
  if R.is_shadow then return end
  self.host.letter(p.c, i, R.name, R.version, reason, message, traceback, key, payload)
end

-- `task`: when it was one.
function kernel:fail_event(p, R, i, reason, message, traceback, key, task)
  local c = p.c
  self.mark.rule = 0
  if R.on_error == "stop" and entry.at(c, i).attempts == 0 then
    health.fail(self, R, R.passed, reason, message) -- the batch is not done with it
    local at = entry.position(c, i)
    if not p.stop_at or at < p.stop_at then
      p.stop_at, p.is_used = at, true
      p.stop_text = ("rule %s: %s: %s"):format(R.name, reason, message)
    end
    return
  end
  p.failed = p.failed or {}
  p.failed[#p.failed + 1] = { rule = R, passed = R.passed, reason = reason, message = message }
  if task and task.kind == timers.WINDOW then windows.tell_span(c, task) end
  if R.on_error == "skip" then
    if R.is_watched then shadow.note_failure(p, R, i, reason, cut_text(message), "", key or "") end
    return
  end
  local payload = ""
  if i >= entry.FIRED then payload = task and task.payload or call.payload or "" end
  write_letter(self, p, R, i, reason, cut_text(message), cut_text(traceback or ""), key or "", payload)
end

---An event whose windows have all closed: counted, and without `on_late` a letter.
function kernel:tell_late(p, R, i, key, time, watermark)
  local late = p.late[R.index]
  if not late then
    late = { count = 0 }
    p.late[R.index], p.is_used = late, true
  end
  if late[i] then return end
  late[i], late.count = true, late.count + 1
  if R.on_late then return end
  local message = ("the event's time %.0f is behind the watermark %.0f, and its %s closed"):format(time, watermark,
    R.window.kind == "sliding" and "windows have" or "window has")
  write_letter(self, p, R, i, "late", message, "", key, "")
end

function kernel:undecodable_entry(p, i)
  local text = ffi.string(p.c.fault)
  self.host.letter(p.c, i, "", "", p.c.is_future ~= 0 and "future" or "decode", cut_text(text), "", "", "")
end

-- ── state ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

-- Why a state cannot be kept: takes back what the handler did.
local function refuse_state(K, p, c, R, i, key, task, message)
  kernel.undo_effects(c, i, R.index, task)
  K:fail_event(p, R, i, "state", message, nil, key, task)
  return true
end

---After a handler has returned: keeps what it left of its state, its window and its timers; `slot` and `record` nil: it has none.
---True: it cannot be kept, and the event has failed.
function kernel:keep(p, c, R, slot, record, ctx, i, key, task)
  local bytes, why
  if record then
    bytes, why = windows.pack(self, R, record, ctx)
    if bytes == nil then return refuse_state(self, p, c, R, i, key, task, why) end
  end
  if slot ~= nil and self:save_state(p, c, R, slot, ctx, i, key, task) then return true end
  self.mark.rule = 0 -- (5)
  if record then
    local due = windows.store(self, c, R, record, key, bytes)
    if due and task then firing.check(p, R, timers.WINDOW, due, task) end
  end
  local pending = call.pending
  if pending and pending.count > 0 then timers.apply(self, c, R, key, pending, firing.check, p, task) end
  return false
end

-- True: it cannot be kept, and the event has failed.
function kernel:save_state(p, c, R, slot, ctx, i, key, task)
  local state = raw_get(ctx, "state")
  if state == nil or (type(state) == "table" and next(state) == nil) then
    if slot.len > 0 then self.host.put(c, slot, nil, 0, 0, 0, 0) end
    return
  end
  if type(state) ~= "table" then
    return refuse_state(self, p, c, R, i, key, task, ("ctx.state must be a table or nil, it is a %s"):format(type(state)))
  end
  local expiry = R.ttl and c.clock_ms + R.ttl or 0
  local len, why = self.pack_state(expiry, R.state_version, state)
  if not len then return refuse_state(self, p, c, R, i, key, task, "the state cannot be kept: " .. why) end
  if len > R.limits.state_bytes then
    return refuse_state(self, p, c, R, i, key, task,
      ("the state of this key is %d bytes, more than %s allows"):format(len, R.limits.setting.state_kb))
  end
  -- `put` writes nothing when the bytes are the same; those of an expired state are gone, though they still lie there.
  if slot.expiry_ms ~= 0 and slot.expiry_ms <= c.clock_ms then self.host.put(c, slot, nil, 0, 0, 0, 0) end
  self.host.put(c, slot, self.packed, len, pack.STATE_HEAD, expiry, R.state_version)
end

-- ── lookups ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

-- Puts a question of `ctx.redis` (context.lua) on the list of what the host fetches: { argv, keys or nil for any key }.
function kernel:ask(p, task, question)
  p.questions[#p.questions + 1] = { task = task, question = question }
  if question.timer then
    local R, key, name = task.rule, task.key, question.timer
    return self.host.timer_ask(p.c, R.id, R.clock_kind, key, #key, name, #name)
  end
  p.lookups[#p.lookups + 1] = { at = entry.position(p.c, task.entry), keys = question.keys }
  self.host.request(p.c, question.argv)
end

-- Hands the answers to the tasks that asked. HGETALL's flat list becomes a table by field.
local function take_answers(self, p)
  for n, asked in ipairs(p.questions) do
    local answer, refusal = self.host.answer(p.c, n - 1)
    if asked.question.argv and asked.question.argv[1] == "HGETALL" and type(answer) == "table" then
      local by_field = {}
      for k = 1, #answer, 2 do by_field[answer[k]] = answer[k + 1] end
      answer = by_field
    end
    asked.task.answer, asked.task.refusal = answer, refusal
    if asked.question.lookup then self.answered(p, asked.question.lookup, answer, refusal) end
  end
  p.questions = {}
end

-- An answer stands only if no earlier event of the batch has written what it told of. Returns the first event whose
-- answer does not stand.
local function first_conflict(p)
  local first
  for _, lookup in ipairs(p.lookups) do
    local writer
    if lookup.keys then
      for _, key in ipairs(lookup.keys) do
        local by = p.written[key]
        if by and (not writer or by < writer) then writer = by end
      end
    else
      writer = p.first_writer
    end
    if writer and writer < lookup.at and (not first or lookup.at < first) then first = lookup.at end
  end
  return first
end

---Remembers that the event being run writes a key (for first_conflict).
function kernel.note_write(p, key)
  local at = entry.position(p.c, p.c.at_entry)
  local by = p.written[key]
  p.is_used = true
  if not by or at < by then p.written[key] = at end
  if not p.first_writer or at < p.first_writer then p.first_writer = at end
end

-- ── failing, continued: errors that handlers raised ─────────────────────────────────────────────────────────────────────

local function message_of(err)
  if type(err) == "string" then return err end
  if type(err) == "number" then return tostring(err) end
  return ("(error object is a %s value)"):format(type(err))
end

---What an error that was caught means, and forgets what `call` says of it.
---@return string reason, string message, string traceback
function kernel.reason_of(_, err)
  local reason, message, trace = "error", nil, call.trace
  if call.unwind and call.unwind ~= "redo" then reason, message = call.unwind, call.message end
  call.unwind, call.message, call.trace = nil, nil, ""
  return reason, cut_text(message or message_of(err)), trace or ""
end

function kernel:fail_with(p, R, i, err, traceback, key, task)
  local reason, message = "error", nil
  if call.unwind and call.unwind ~= "redo" then
    reason, message = call.unwind, call.message
  elseif call.migrating or call.upgrading then
    reason = call.migrating and "migrate" or "upgrade"
  end
  key = call.migrating or key
  call.unwind, call.message, call.migrating, call.upgrading = nil, nil, nil, nil
  call.trace = "" -- else an error without one, such as a full stack, would show this one's
  return self:fail_event(p, R, i, reason, message or message_of(err), traceback, key, task)
end

local FUNCTIONS = { "on_event", "on_timer", "on_window", "on_late", "merge", "when_function", "key_function", "time_function",
  "migrate" }
local FUNCTION_NAMES = { when_function = "when", key_function = "key", time_function = "time" }

-- How a frame of a rule's file is called: the fields of the rule table by their names, others as Lua knows them.
local function name_of(R, info)
  for _, name in ipairs(FUNCTIONS) do
    if info.func == R[name] then return FUNCTION_NAMES[name] or name end
  end
  for version, f in ipairs(R.upgrades or {}) do
    if info.func == f then return ("upgrade[%d]"):format(version) end
  end
  if info.name then return ("function '%s'"):format(info.name) end
  return ("function <%s:%d>"):format(info.short_src, info.linedefined)
end

local NAMED_DEPTH = 50 -- of a stack whose functions have names

-- The frames of the rule's own files, newest first, one a line: "cart.lua:12: in function 'total'".
-- Of the coroutine that runs, or of one that waits. Without names when the stack is deep: the LuaJIT of Debian 12 reads a name from
-- the instruction that made the call, and in compiled recursion it looks for that outside of the function: endless recursion took
-- the worker down, one time in five.
function kernel:traceback(co)
  local lines = {}
  local is_deep
  if co then is_deep = debug.getinfo(co, NAMED_DEPTH, "f") else is_deep = debug.getinfo(NAMED_DEPTH, "f") end
  local what = is_deep and "Slf" or "Slnf"
  for level = co and 0 or 2, 100 do
    local info
    if co then info = debug.getinfo(co, level, what) else info = debug.getinfo(level, what) end
    if not info or #lines == 20 then break end
    if self.sources[info.source] then
      lines[#lines + 1] = ("%s:%d: in %s"):format(info.short_src, info.currentline, name_of(call.rule, info))
    end
  end
  return table.concat(lines, "\n")
end

-- After an error in the batch loop: blames the rule that was running. Returns the event and the place in its list of rules
-- to go on at.
function kernel:failed(p, err)
  local c, R = p.c, self.rules[self.mark.leaving ~= 0 and self.mark.leaving or self.mark.rule]
  self.mark.rule, self.mark.leaving = 0, 0 -- first: who took all memory left none for what follows, but the kernel has a reserve
  if err == memory.RESTART or (not R and memory.is_out(err)) then error(err, 0) end
  if not R then error("in the kernel itself: " .. message_of(err), 0) end
  local i = c.at_entry
  local list = self.lists[c.entries[i].stream]
  local position = 1
  while list.rules[position] ~= R and position < #list.rules do position = position + 1 end
  kernel.undo_effects(c, i, R.index)
  if call.unwind == "redo" then
    call.unwind = nil
    if self.host.redo then self.host.redo(c, i, R) end
    return i, position
  end
  if memory.is_out(err) and memory.may_try_again(self, p, R, i) then return i, position end
  self:fail_with(p, R, i, err, call.trace, call.key)
  if position == #list.rules or c.entries[i].only > 0 then return i + 1, 1 end
  return i, position + 1
end

-- ── running a batch ─────────────────────────────────────────────────────────────────────────────────────────────────────

local SHORT_RUN = 8 -- fewer events than this are run one by one (see step.of_list)

-- One rule on one event, outside of the generated loops.
local function run_rule(self, p, c, i, s, R)
  if self.is_recorded and self.is_recorded(p, i) then return self.record_rule(p, c, i, s, R) end
  return R.step(p, c, i, s)
end

local function blame_rule(self, p, i, R, blame)
  if self.is_recorded and self.is_recorded(p, i) then self.open_decision(p, i, R) end
  return self:fail_event(p, R, i, blame.reason, blame.message)
end

-- An event that stands alone in its batch, because of what happened to a worker on it: rules that are blamed fail, the others
-- run, as many as may (p.alone: blames by rule, most; see engine.lua).
local function run_alone(self, p, c, i, s, rules, from)
  for n = from, math.min(#rules, p.alone.most or #rules) do
    local R = rules[n]
    local blame = p.alone.blames[R.index]
    if blame then blame_rule(self, p, i, R, blame) else run_rule(self, p, c, i, s, R) end
    c.clock_ms = c.entries[i].clock_ms
  end
end

---Reads the event's time for the rules that have a clock, and fires what it makes due. True: the batch ends in front of it. Else
---the shape of the event, whose tokens are there.
function kernel:observe_event(p, i, s, rules)
  local from = 1
  while true do
    local n, clock = clocks.observe(self, p, i, s, rules, from)
    if not n then return false, s end
    if firing.by_watermark(self, p, rules[n], clock, i) then return true end
    s, from = self.host.decode(p.c, i), n + 1
  end
end

-- The rules whose clocks an event moves, in front of itself: not one that may not be called on it.
local function clocked_of(self, p, list, only)
  if only == 0 and not p.alone then return list.clocked end
  local some = {}
  for n, R in ipairs(only > 0 and { self.rules[only] } or list.rules) do
    local may = not p.alone or (n <= (p.alone.most or n) and not p.alone.blames[R.index])
    if R.has_clock and may then some[#some + 1] = R end
  end
  return some
end

-- One event from the rule at place `from` on; only one rule when a letter is tried again.
local function run_some(self, p, c, i, list, from)
  local only = c.entries[i].only
  c.at_entry = i
  if from == 1 and only == 0 and c.entries[i].clock_ms >= math.min(c.next_wall_ms, c.next_idle_ms) then
    if firing.before(self, p, i) then return end
  end
  local s = self.host.decode(c, i) -- no rule is running then
  if s == -2 then
    if only == 0 then clocks.pass(p, i, list.clocked) end
    return self:undecodable_entry(p, i)
  end
  local is_cut
  is_cut, s = self:observe_event(p, i, s, clocked_of(self, p, list, only))
  if is_cut then return end
  if p.alone then return run_alone(self, p, c, i, s, only > 0 and { self.rules[only] } or list.rules, from) end
  if only > 0 then return run_rule(self, p, c, i, s, self.rules[only]) end
  for n = from, #list.rules do
    run_rule(self, p, c, i, s, list.rules[n])
    c.clock_ms = c.entries[i].clock_ms
  end
end

local function mixed_loop(lists, clock, p, c, first, last)
  for i = first, last do
    if lists[c.entries[i].stream].one(p, c, i) then return end
    if clock() >= c.deadline_ms then return end
  end
end

local function drive(self, p, last)
  local c, clock, on_error = p.c, self.host.clock, self.on_error
  local i, from = 0, 1
  if last == 0 and p.stream then
    -- The quiet stream: one event, and the less is looked at through FFI outside of compiled code, the sooner it is done.
    local ok, err = xpcall(self.lists[p.stream].one, on_error, p, c, 0)
    if ok then return p.cut_at and -1 or 0 end
    i, from = self:failed(p, err)
  end
  while i <= last do
    local e = c.entries[i]
    local list = self.lists[e.stream]
    local run_end = e.run_end < last and e.run_end or last
    local ok, err
    if from > 1 or e.only > 0 or p.alone then
      ok, err = xpcall(run_some, on_error, self, p, c, i, list, from)
    elseif run_end - i >= SHORT_RUN then
      ok, err = xpcall(list.loop, on_error, p, c, i, run_end)
    elseif last - i >= SHORT_RUN then
      ok, err = xpcall(mixed_loop, on_error, self.lists, clock, p, c, i, last)
    else
      ok, err = xpcall(list.one, on_error, p, c, i)
    end
    if p.cut_at then return p.cut_at - 1 end
    if ok then
      i, from = c.at_entry + 1, 1
    else
      i, from = self:failed(p, err)
    end
    if from == 1 and i > 0 and i <= last and clock() >= c.deadline_ms then break end -- at 0: it is to be run again
  end
  return i - 1
end
jit.off(drive)

local function reset(p)
  p.cut_at, p.wave_due, p.wave_rule, p.is_resumed, p.conflict_at, p.records = nil, nil, nil, false, nil, nil
  call.payload = nil
  p.c.is_short, p.c.is_early, p.c.has_more = 0, 0, 0
  if p.is_used then
    p.waiting, p.waiting_count, p.parked, p.questions = {}, 0, {}, {}
    p.lookups, p.written, p.first_writer, p.stop_at, p.late = {}, {}, nil, nil, {}
    p.is_used = false
  end
  p.has_driven, p.failed, p.watched = false, nil, nil
end

---Starts a batch of `count` entries that stand in the bridge. Nothing of an earlier try remains: the host has discarded what
---the bridge held. `stream`: the number of the stream when all of them are its entries and none is a retry, else nil. Of none, and
---c.until_ms 0: c.fired[0] is to be tried again.
function kernel:begin(p, count, stream)
  local c = p.c
  p.last = math.min(count, math.floor(p.most or count)) - 1
  p.count, p.stream, p.fired_most = count, stream, nil
  p.is_retry = count == 0 and c.until_ms == 0 and c.fired_count == 1
  p.stopped_at, p.stopped_by, p.refused_memory, p.restarts = nil, nil, nil, 0
  p.first_clock_ms = c.clock_ms
  reset(p)
  clocks.begin(self, p)
end

-- Runs the entries, or what there is instead. At the tail, time goes on behind the last one.
local function go_through(self, p)
  local c = p.c
  if p.is_retry then
    c.fired_count = 1
    firing.start(self, p, self.rules[c.fired[0].entry.only], 0)
    return
  end
  p.last = drive(self, p, p.last)
  if c.until_ms > 0 and p.last == p.count - 1 and not p.cut_at then firing.at_tail(self, p, p.count) end
end

-- Goes on with the batch. False: something waits for the host.
local function go_on(self, p)
  if not p.has_driven then
    p.has_driven = true
    go_through(self, p)
  else
    take_answers(self, p)
    tasks.resume(self, p)
  end
  return #p.parked == 0
end

-- Does the batch have to begin again, because an answer does not stand or a rule has stopped it?
local function must_run_again(p)
  local before = first_conflict(p)
  if p.conflict_at and (not before or p.conflict_at < before) then before = p.conflict_at end
  local again = p.wants_again
  p.wants_again = false
  if p.stop_at and (not before or p.stop_at < before) then -- at `before` itself it may have failed by a wrong answer
    before, again, p.stopped_at, p.stopped_by = p.stop_at, true, p.stop_at, p.stop_text
  elseif before then
    again, p.most = true, math.max(1, math.floor(before) * 2) -- writers and askers of one key: do not compute the rest in vain again
  end
  if again and before then p.last, p.fired_most = entry.in_front(before) end
  return again
end

-- After the batch loop was left: makes the batch smaller, in one of the ways of memory.lua.
local function shrink(p, how)
  local c = p.c
  local i = c.at_entry
  if i >= entry.FIRED then -- what fired there begins the next batch, or is alone in this one
    local k = i - entry.FIRED
    p.last, p.fired_most = c.fired[k].before - 1, how == "smaller" and math.floor(k / 2) or k
    if p.last < 0 and p.fired_most == 0 then p.fired_most = 1 end
    return
  end
  if how == "smaller" then
    p.last = math.floor(p.last / 2)
  elseif how == "alone" then
    p.last = i > 0 and i - 1 or 0
  end
  p.most = how == "alone" and i > 0 and 0.5 or p.last + 1 -- it doubles before the next batch
end

local function count_failures(self, p)
  for _, failure in ipairs(p.failed) do
    local R = failure.rule
    if R.on_error == "skip" then R.skipped = R.skipped + 1 end
    health.fail(self, R, failure.passed, failure.reason, failure.message)
  end
  p.failed = nil
end

local function count_late(self, p)
  for index, R in ipairs(self.rules) do
    if p.late[index] then R.late = R.late + p.late[index].count end
  end
  p.late = {}
end

-- Where the position's clock stands behind the batch.
local function end_clock(p)
  local c = p.c
  c.clock_ms = p.last >= 0 and c.entries[p.last].clock_ms or p.first_clock_ms
  if c.fired_count > 0 and not p.is_retry then
    c.clock_ms = math.max(c.clock_ms, c.fired[c.fired_count - 1].entry.clock_ms)
  end
  if c.until_ms > 0 and not p.cut_at and p.last == p.count - 1 then c.clock_ms = math.max(c.clock_ms, c.until_ms) end
end

-- With the traceback of a fault of our own.
local function on_fault(err)
  if err == memory.RESTART or err == UNWIND or memory.is_out(err) then return err end
  return debug.traceback(message_of(err), 2)
end

-- What is told of a batch that is done.
local function tell(self, p)
  if p.records then self.write_records(p) end
  if self.shadows then shadow.settle(self, p) end
end

---Runs the batch as far as it goes. "wait": the host must fetch `c`'s wants and requests, then call again. "done": the first
---`processed` entries are done; what they want is in `c`. `stopped`: why the entry after them stopped its rule (on_error =
---"stop"). "full": nothing is done; the first entry must be run alone in a new VM (only when c.is_renewable).
---@return "wait"|"done"|"full" status, number processed, string|nil stopped
function kernel:run(p)
  call.partition = p
  local status
  repeat
    local ok, is_through = xpcall(go_on, on_fault, self, p)
    self.mark.rule = 0
    local again
    if ok then
      status = is_through and "done" or "wait"
      again = is_through and must_run_again(p)
      if is_through and not again then ok, is_through = xpcall(tell, on_fault, self, p) end
    end
    if not ok then
      call.task = nil -- it may have been broken off in the middle of one
      local how = memory.how_to_restart(p, is_through)
      if not how then error(is_through, 0) end
      if how == "renew" then status = "full" else again = true end
      shrink(p, how)
    end
    if again or status == "full" then
      self.host.discard(p.c)
      clocks.rollback(self, p)
      reset(p)
    end
  until not again
  call.partition = nil
  if status ~= "done" then return status, 0 end
  if p.failed then count_failures(self, p) end
  if next(p.late) ~= nil then count_late(self, p) end
  clocks.report(self, p)
  end_clock(p)
  if self.failing_count > 0 then health.look(self) end
  -- A second try may have ended before the place where the first one stopped, because time was up.
  local stopped = p.stopped_at and select(1, entry.in_front(p.stopped_at)) == p.last and p.stopped_by or nil
  if p.most and not stopped then
    p.most = p.most * 2
    if p.most > 100000 then p.most = nil end
  end
  return "done", p.last + 1, stopped
end

return kernel
