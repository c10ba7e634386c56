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
local migration = require "tidemill.migration"
local value = require "tidemill.value"
local pack = require "tidemill.pack"
local shape = require "tidemill.shape"
local step = require "tidemill.step"
local context = require "tidemill.context"
local health = require "tidemill.health"
local limits = require "tidemill.limits"
local memory = require "tidemill.memory"

local kernel = {}
kernel.__index = kernel

local UNWIND, ASK = call.UNWIND, call.ASK
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

-- The handler of a task whose state must be migrated first. In the task's coroutine, because there errors are caught.
local function migrating_handler(K)
  return function(event, ctx)
    local task, c = call.task, call.partition.c
    local R, key = task.rule, task.key
    rawset(ctx, "state", K.migrated(c, R, K.host.find(c, R.id, key, #key), key))
    return R.on_event(event, ctx)
  end
end

---@param host table    see the head of bridge.c: decode, find, want, put, state_tokens, letter, log, clock …
---@param book table    what rulebook.load returned
---@param settings table  the limits: rule_ms, effects, effect_bytes, state_bytes
function kernel.new(host, book, settings)
  local K = setmetatable({
    host = host, call = call, mark = host.mark, rules = book.rules, sources = book.sources, lists = {}, stream_names = {},
    stream_index = {}, key_text = value.key_text, packed = pack.bytes(), pack_state = pack.state,
    vm_bytes = settings.vm_bytes, failing_count = 0,
  }, kernel)
  call.mark = K.mark
  K.read_state = state_reader(K)
  K.state_of = state_getter(K)
  K.migrated = function(c, R, slot, key) return (migration.run(K, c, R, slot, key)) end
  K.migrate_first = migrating_handler(K)
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
  K.fail = function(p, R, i, reason, message) return K:fail_event(p, R, i, reason, message) end
  K.undecodable = function(p, i) return K:undecodable_entry(p, i) end
  K.defer = function(p, R, i, event, key) return K:defer_event(p, R, i, event, key) end
  K.must_wait = function(p, R, i, event, key) return (K:wait_behind(p, R, i, event, key)) end
  K.save = function(p, c, R, slot, ctx, i, key) return (K:save_state(p, c, R, slot, ctx, i, key)) end
  K.on_error = function(err)
    -- First of all, because a time limit may be found passed once more while the stack is being left: from here on there is
    -- nothing to stop, and what it raised would reach the kernel itself. (But the C stack may be all but used up.)
    K.mark.leaving, K.mark.rule = K.mark.rule, 0
    if err ~= UNWIND then call.trace = K:traceback() elseif call.unwind ~= "time" then call.trace = "" end
    return err
  end
  for index, R in ipairs(K.rules) do
    R.index, R.builders, R.asks, R.uses_state = index, {}, false, false
    R.id = R.id or index -- its states go by this one, which stays over reloads; effects and the mark by the index
    R.fed_back = 0 -- effects on streams that it reads itself
    health.open(R, settings)
    R.limits = limits.of_rule(R.own_limits, settings)
    R.ctx = context.create(K, R)
    R.spare_contexts, R.spare_coroutines = {}, {}
    R.step = step.of_rule(K, R)
  end
  return K
end

---A partition with its bridge. Returns the kernel's record of it.
function kernel.open(_, c)
  local p = {
    c = c, waiting = {}, waiting_count = 0, parked = {}, questions = {}, lookups = {}, written = {}, refused = nil,
    tracks_writes = false, has_driven = false, last = -1,
  }
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
  self.lists[index] = step.of_list(self, rules)
  return index
end

-- ── failing ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

local function cut_text(text)
  if #text > LETTER_TEXT then return text:sub(1, LETTER_TEXT) .. " ..." end
  return text
end

-- Takes the effects of (entry, rule) back. Those of a handler that ran straight through are the last ones; those of a task
-- lie anywhere.
local function undo_effects(c, i, index, task)
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

function kernel:fail_event(p, R, i, reason, message, traceback, key)
  local c = p.c
  self.mark.rule = 0
  if R.on_error == "stop" and c.entries[i].attempts == 0 then
    health.fail(self, R, R.passed, reason, message) -- the batch is not done with it
    if not p.stop_at or i < p.stop_at then
      p.stop_at, p.is_used = i, true
      p.stop_text = ("rule %s: %s: %s"):format(R.name, reason, message)
    end
    return
  end
  p.failed = p.failed or {}
  p.failed[#p.failed + 1] = { rule = R, passed = R.passed, reason = reason, message = message }
  if R.on_error == "skip" then return end
  self.host.letter(c, i, R.name, R.version, reason, cut_text(message), cut_text(traceback or ""), key or "", "")
end

function kernel:undecodable_entry(p, i)
  local text = ffi.string(p.c.fault)
  self.host.letter(p.c, i, "", "", p.c.is_future ~= 0 and "future" or "decode", cut_text(text), "", "", "")
end

-- ── state ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

-- Why a state cannot be kept: takes back what the handler did.
local function refuse_state(K, p, c, R, i, key, task, message)
  undo_effects(c, i, R.index, task)
  K:fail_event(p, R, i, "state", message, nil, key)
  return true
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

-- ── events that wait ────────────────────────────────────────────────────────────────────────────────────────────────────
-- A task is one event for one rule that could not run in its turn: its state is not here yet, an earlier event of its key
-- waits, or its handler waits for an answer. Tasks of one rule and key stand in a queue; only its head runs or is parked.
--
--   rule, entry, event, key   what is to run
--   ctx, co                   once it has begun: its own ctx, and the coroutine that its handler runs in
--   has_state                 the state was loaded for it
--   ordinal, bytes, random    its share of `call` while it is parked
--   answer, refusal           what its question brought

local DONE, FAILED = {}, {}

local function queue_of(p, R, key)
  local queues = p.waiting[R.index]
  return queues and queues[key]
end

local function enqueue(p, R, i, event, key)
  local queues = p.waiting[R.index]
  if not queues then
    queues = {}
    p.waiting[R.index] = queues
  end
  local queue = queues[key]
  if not queue then
    queue = { head = 1, tail = 0 }
    queues[key] = queue
    p.waiting_count = p.waiting_count + 1
    p.is_used = true
  end
  queue.tail = queue.tail + 1
  queue[queue.tail] = { rule = R, entry = i, event = event, key = key }
  return queue[queue.tail], queue
end

-- Notes that the head of a queue cannot go on before the host has fetched what it needs.
local function park(p, task)
  p.parked[#p.parked + 1] = task
  p.c.is_unordered = 1
end

function kernel:defer_event(p, R, i, event, key)
  self.mark.rule = 0 -- (5)
  local task = enqueue(p, R, i, event, key)
  self.host.want(p.c, R.id, key, #key)
  park(p, task)
end

-- True when the event may not run straight through: it is queued, or has run as a task because its rule asks.
function kernel:wait_behind(p, R, i, event, key)
  self.mark.rule = 0 -- (5)
  local queue = queue_of(p, R, key)
  if not queue and not R.asks then
    self.mark.rule = R.index
    return false
  end
  enqueue(p, R, i, event, key)
  if not queue then self:run_queue(p, R, key) end
  p.c.at_entry = i
  return true
end

-- What a task's coroutine runs: handler after handler. An error is caught where the stack still stands (a dead coroutine no
-- longer knows the line), and the coroutine lives on. The rule is marked as running only in here, and not while it waits for an
-- answer (context.lua): stopped at its last or first instruction, it leaves this coroutine, and nothing of the queues (5).
local function handler_loop(mark, index, on_error, handler, event, ctx)
  while true do
    mark.rule = index
    local ok, err = xpcall(handler, on_error, event, ctx)
    mark.rule = 0
    handler, event, ctx = coroutine.yield(ok and DONE or FAILED, err)
  end
end

-- The event of a task once more: its handler has begun, and may have changed the table.
function kernel:event_again(p, R, i)
  local c = p.c
  local s, tokens = self.host.decode(c, i), c.event_tokens.list
  local event
  self.mark.rule = R.index
  if s >= 0 then event = (R.builders[s] or self.constructor(R, tokens, s))(tokens) else event = self.generic(R, tokens) end
  call.key, call.ordinal, call.random = nil, 2147483647, nil -- as in step.lua
  if R.when_function then R.when_function(event) end
  if R.check then R.check(event, c.texts ~= 0) end
  if R.key_function then R.key_function(event) end
  self.mark.rule = 0
  return event
end

-- A coroutine that was stopped outside of its handler is dead, and its rule still marked.
local function unmarked(mark, ...)
  mark.rule = 0
  return ...
end

-- Starts or resumes a task. Returns what its coroutine gave, or nil when it first needs its state.
function kernel:advance(p, task)
  local R, c, mark = task.rule, p.c, self.mark
  call.key = task.key
  if task.co then
    call.ordinal, call.bytes, call.random = task.ordinal, task.bytes, task.random
    return unmarked(mark, coroutine.resume(task.co, task.answer, task.refusal))
  end
  task.ctx = task.ctx or table.remove(R.spare_contexts) or context.create(self, R)
  rawset(task.ctx, "key", task.key)
  rawset(task.ctx, "state", nil)
  task.has_state = R.uses_state
  local handler = R.on_event
  if R.uses_state then
    local slot = self.host.find(c, R.id, task.key, #task.key)
    if slot == nil then
      self.host.want(c, R.id, task.key, #task.key)
      return nil
    end
    local state = self.state_of(c, slot, R.state_version)
    if state then rawset(task.ctx, "state", state) else handler = self.migrate_first end
  end
  call.ordinal, call.bytes, call.random = 0, 0, nil
  task.co = table.remove(R.spare_coroutines)
  if task.co then return unmarked(mark, coroutine.resume(task.co, handler, task.event, task.ctx)) end
  task.co = coroutine.create(handler_loop)
  return unmarked(mark, coroutine.resume(task.co, mark, R.index, self.on_error, handler, task.event, task.ctx))
end

-- The same with the running time of its earlier turns. Only a task that was seen running at a tick is measured: that costs
-- two system calls a turn. (So a rule that asks in an endless loop is stopped, too.)
local function advance_on_time(self, p, task)
  local mark, cpu_us = self.mark, self.host.cpu_us
  local began = task.spent_us and cpu_us()
  if began then
    if limits.is_over(self, task) then return false, UNWIND end
    mark.spent_us = task.spent_us
  end
  local ok, first, second = self:advance(p, task)
  if began then
    task.spent_us = task.spent_us + cpu_us() - began
  elseif mark.is_seen ~= 0 then
    task.spent_us = 0
  end
  return ok, first, second
end

-- After a handler returned: keeps its state.
local function finish(self, p, task)
  local R, c = task.rule, p.c
  if not task.has_state then
    R.passed = R.passed + 1
    return
  end
  local slot = self.host.find(c, R.id, task.key, #task.key)
  self.mark.rule = R.index
  local has_failed = self:save_state(p, c, R, slot, task.ctx, task.entry, task.key, task)
  self.mark.rule = 0
  if not has_failed then R.passed = R.passed + 1 end
end

-- After a handler failed. False: it must be run again from its start.
local function give_up(self, p, task, err, trace)
  local R, c, i = task.rule, p.c, task.entry
  self.mark.rule = 0
  undo_effects(c, i, R.index, task)
  local may_again = call.unwind == "redo"
  if may_again then
    call.unwind = nil
    if self.host.redo then self.host.redo(c, i, R) end
  elseif memory.is_out(err) then
    may_again = memory.may_try_again(self, p, R, i)
  end
  if not may_again then
    self:fail_with(p, R, i, err, trace, task.key)
    return true
  end
  local built, event = xpcall(self.event_again, self.on_error, self, p, R, i)
  self.mark.rule = 0
  if built then
    task.event = event
    return false
  end
  if memory.is_out(event) then memory.blame(self) end
  self:fail_with(p, R, i, event, "", task.key)
  return true
end

-- Runs one task until it is done (true) or waits (false).
local function run_now(self, p, task)
  local R, c = task.rule, p.c
  self.host.note(c, task.entry)
  c.at_entry = task.entry
  call.task, call.rule = task, R
  local ok, first, second = advance_on_time(self, p, task)
  call.task = nil
  task.ordinal, task.bytes, task.random = call.ordinal, call.bytes, call.random
  if ok == nil or (ok and first == ASK) then
    if ok then self:ask(p, task, second) end
    park(p, task)
    return false
  end
  local co, is_over = task.co, true
  task.co = nil
  if ok and (first == DONE or first == FAILED) then
    R.spare_coroutines[#R.spare_coroutines + 1] = co
    if first == DONE then ok, second = xpcall(finish, self.on_error, self, p, task) end
    if first == FAILED or not ok then is_over = give_up(self, p, task, second, call.trace) end
  else -- the coroutine itself is lost
    is_over = give_up(self, p, task, ok and "a handler must not yield" or first, call.unwind == "time" and call.trace or "")
  end
  self.mark.rule, self.mark.leaving = 0, 0
  if not is_over then return run_now(self, p, task) end
  R.spare_contexts[#R.spare_contexts + 1] = task.ctx
  return true
end

-- A task may run when later events have passed already; for it the clock still stands at its own.
function kernel:run_task(p, task)
  local c = p.c
  local latest = c.clock_ms
  c.clock_ms = c.entries[task.entry].clock_ms
  local is_done = run_now(self, p, task)
  c.clock_ms = latest
  return is_done
end

-- Runs the queue of a rule and key until it is empty or its head waits.
function kernel:run_queue(p, R, key)
  local queues = p.waiting[R.index]
  local queue = queues[key]
  while queue.head <= queue.tail do
    if not self:run_task(p, queue[queue.head]) then return end
    queue[queue.head] = nil
    queue.head = queue.head + 1
  end
  queues[key] = nil
  p.waiting_count = p.waiting_count - 1
end

-- ── lookups ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

-- Puts a question of `ctx.redis` (context.lua) on the list of what the host fetches: { argv, keys or nil for any key }.
function kernel:ask(p, task, question)
  p.questions[#p.questions + 1] = { task = task, question = question }
  p.lookups[#p.lookups + 1] = { entry = task.entry, keys = question.keys }
  self.host.request(p.c, question.argv)
end

-- Hands the answers to the tasks that asked. HGETALL's flat list becomes a table by field.
local function take_answers(self, p)
  for n, asked in ipairs(p.questions) do
    local answer, refusal = self.host.answer(p.c, n - 1)
    if asked.question.argv[1] == "HGETALL" and type(answer) == "table" then
      local by_field = {}
      for k = 1, #answer, 2 do by_field[answer[k]] = answer[k + 1] end
      answer = by_field
    end
    asked.task.answer, asked.task.refusal = answer, refusal
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
    if writer and writer < lookup.entry and (not first or lookup.entry < first) then first = lookup.entry end
  end
  return first
end

---Remembers that the event being run writes a key (for first_conflict).
function kernel.note_write(p, key)
  local i = p.c.at_entry
  local by = p.written[key]
  p.is_used = true
  if not by or i < by then p.written[key] = i end
  if not p.first_writer or i < p.first_writer then p.first_writer = i end
end

-- ── failing, continued: errors that handlers raised ─────────────────────────────────────────────────────────────────────

local function message_of(err)
  if type(err) == "string" then return err end
  if type(err) == "number" then return tostring(err) end
  return ("(error object is a %s value)"):format(type(err))
end

function kernel:fail_with(p, R, i, err, traceback, key)
  local reason, message = "error", nil
  if call.unwind and call.unwind ~= "redo" then
    reason, message = call.unwind, call.message
  elseif call.migrating then
    reason = "migrate"
  end
  key = call.migrating or key
  call.unwind, call.message, call.migrating = nil, nil, nil
  call.trace = "" -- else an error without one, such as a full stack, would show this one's
  return self:fail_event(p, R, i, reason, message or message_of(err), traceback, key)
end

-- How a frame of a rule's file is called: the fields of the rule table by their names, others as Lua knows them.
local function name_of(R, info)
  if info.func == R.on_event then return "on_event" end
  if info.func == R.when_function then return "when" end
  if info.func == R.key_function then return "key" end
  if info.func == R.migrate then return "migrate" end
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
  local i = c.at_entry
  local list = self.lists[c.entries[i].stream]
  if err == memory.RESTART or (not R and memory.is_out(err)) then error(err, 0) end
  if not R then error("in the kernel itself: " .. message_of(err), 0) end
  local position = 1
  while list.rules[position] ~= R and position < #list.rules do position = position + 1 end
  undo_effects(c, i, R.index)
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

-- An event that stands alone in its batch, because of what happened to a worker on it: rules that are blamed fail, the others
-- run, as many as may (p.alone: blames by rule, most; see engine.lua).
local function run_alone(self, p, c, i, s, rules, from)
  for n = from, math.min(#rules, p.alone.most or #rules) do
    local R = rules[n]
    local blame = p.alone.blames[R.index]
    if blame then self:fail_event(p, R, i, blame.reason, blame.message) else R.step(p, c, i, s) end
  end
end

-- One event from the rule at place `from` on; only one rule when a letter is tried again.
local function run_some(self, p, c, i, list, from)
  c.at_entry = i
  local s = self.host.decode(c, i) -- no rule is running then
  if s == -2 then return self:undecodable_entry(p, i) end
  local only = c.entries[i].only
  if p.alone then return run_alone(self, p, c, i, s, only > 0 and { self.rules[only] } or list.rules, from) end
  if only > 0 then return self.rules[only].step(p, c, i, s) end
  for n = from, #list.rules do list.rules[n].step(p, c, i, s) end
end

local function mixed_loop(lists, clock, p, c, first, last)
  for i = first, last do
    lists[c.entries[i].stream].one(p, c, i)
    if clock() >= c.deadline_ms then return end
  end
end

local function drive(self, p, last)
  local c, clock, on_error = p.c, self.host.clock, self.on_error
  local i, from = 0, 1
  if last == 0 and p.stream then
    -- The quiet stream: one event, and the less is looked at through FFI outside of compiled code, the sooner it is done.
    local ok, err = xpcall(self.lists[p.stream].one, on_error, p, c, 0)
    if ok then return 0 end
    i, from = self:failed(p, err)
  end
  while i <= last do
    local entry = c.entries[i]
    local list = self.lists[entry.stream]
    local run_end = entry.run_end < last and entry.run_end or last
    local ok, err
    if from > 1 or entry.only > 0 or p.alone then
      ok, err = xpcall(run_some, on_error, self, p, c, i, list, from)
    elseif run_end - i >= SHORT_RUN then
      ok, err = xpcall(list.loop, on_error, p, c, i, run_end)
    elseif last - i >= SHORT_RUN then
      ok, err = xpcall(mixed_loop, on_error, self.lists, clock, p, c, i, last)
    else
      ok, err = xpcall(list.one, on_error, p, c, i)
    end
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
  if p.is_used then
    p.waiting, p.waiting_count, p.parked, p.questions = {}, 0, {}, {}
    p.lookups, p.written, p.first_writer, p.stop_at = {}, {}, nil, nil
    p.is_used = false
  end
  p.has_driven, p.failed = false, nil
end

---Starts a batch of `count` entries that stand in the bridge. Nothing of an earlier try remains: the host has discarded what
---the bridge held. `stream`: the number of the stream when all of them are its entries and none is a retry, else nil.
function kernel.begin(p, count, stream)
  p.last = math.min(count, p.most or count) - 1
  p.stream = stream
  p.stopped_at, p.stopped_by, p.refused_memory, p.restarts = nil, nil, nil, 0
  reset(p)
end

-- Goes on with the batch. False: something waits for the host.
local function go_on(self, p)
  if not p.has_driven then
    p.has_driven = true
    p.last = drive(self, p, p.last)
  else
    local ready = p.parked
    p.parked = {}
    take_answers(self, p)
    table.sort(ready, function(a, b)
      if a.entry ~= b.entry then return a.entry < b.entry end
      return a.rule.index < b.rule.index
    end)
    for _, task in ipairs(ready) do self:run_queue(p, task.rule, task.key) end
  end
  return #p.parked == 0
end

-- Does the batch have to begin again, because an answer does not stand or a rule has stopped it?
local function must_run_again(p)
  local before = first_conflict(p)
  local again = p.wants_again
  p.wants_again = false
  if p.stop_at and (not before or p.stop_at < before) then -- at `before` itself it may have failed by a wrong answer
    before, again, p.stopped_at, p.stopped_by = p.stop_at, true, p.stop_at, p.stop_text
  elseif before then
    again, p.most = true, math.max(1, before * 2) -- writers and askers of one key: do not compute the rest in vain again
  end
  if again and before then p.last = before - 1 end
  return again
end

-- After the batch loop was left: makes the batch smaller, in one of the ways of memory.lua.
local function shrink(p, how)
  local i = p.c.at_entry
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

-- With the traceback of a fault of our own.
local function on_fault(err)
  if err == memory.RESTART or err == UNWIND or memory.is_out(err) then return err end
  return debug.traceback(message_of(err), 2)
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
    else
      call.task = nil -- it may have been broken off in the middle of one
      local how = memory.how_to_restart(p, is_through)
      if not how then error(is_through, 0) end
      if how == "renew" then status = "full" else again = true end
      shrink(p, how)
    end
    if again or status == "full" then
      self.host.discard(p.c)
      reset(p)
    end
  until not again
  call.partition = nil
  if status ~= "done" then return status, 0 end
  if p.failed then count_failures(self, p) end
  if self.failing_count > 0 then health.look(self) end
  -- A second try may have ended before the place where the first one stopped, because time was up.
  local stopped = p.stopped_at == p.last + 1 and p.stopped_by or nil
  if p.most and not stopped then
    p.most = p.most * 2
    if p.most > 100000 then p.most = nil end
  end
  return "done", p.last + 1, stopped
end

return kernel
