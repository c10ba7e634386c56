-- tasks.lua: what does not run straight in the batch loop.
--
-- A task is one call of a rule that cannot be made in its turn: its state is not here yet, an earlier event of its key waits, or
-- its handler waits for an answer. So are windows that close, and timers for which any of this holds. Tasks of one rule and key
-- stand in a queue; only its head runs or is parked.
--
--   rule, entry, event, key   what is to run; `event` is the first argument of the handler
--   kind                      nil: an event; else a kind of timers.lua, or "retry"
--   name, payload, span       of what fired: as in its queue; the timer's payload as bytes; the window's times
--   now, watermark, clock_ms  the event's time, the rule's watermark and the clock of its states, as they were in its turn
--   ctx, co                   once it has begun: its own ctx, and the coroutine that its handler runs in
--   has_state                 the state was loaded for it
--   blame                     why it must not be called: reason and message
--   record                    the window that it works on (windows.lua)
--   ordinal, bytes, random, pending   its share of `call` while it is parked
--   answer, refusal           what its question brought
local call = require "tidemill.call"
local context = require "tidemill.context"
local entry = require "tidemill.entry"
local limits = require "tidemill.limits"
local memory = require "tidemill.memory"
local timers = require "tidemill.timers"
local windows = require "tidemill.windows"

local tasks = {}

local UNWIND, ASK = call.UNWIND, call.ASK
local DONE, FAILED = {}, {}
local WINDOW = timers.WINDOW

-- ── queues ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

local function queue_of(p, R, key)
  local queues = p.waiting[R.index]
  return queues and queues[key]
end

---Are there tasks of this rule and key?
function tasks.are_waiting(p, R, key) return queue_of(p, R, key) ~= nil end

---Puts a task behind the others of its rule and key.
---@return table task, boolean is_first  then it is the caller's to run or park
function tasks.add(p, R, i, event, key)
  local queues = p.waiting[R.index]
  if not queues then
    queues = {}
    p.waiting[R.index] = queues
  end
  local queue = queues[key]
  local is_first = not queue
  if is_first then
    queue = { head = 1, tail = 0 }
    queues[key] = queue
    p.waiting_count = p.waiting_count + 1
    p.is_used = true
  end
  queue.tail = queue.tail + 1
  local clock = p.clocks[R.index]
  local task = {
    rule = R, entry = i, event = event, key = key, clock_ms = p.c.clock_ms, now = call.now,
    watermark = clock and clock.watermark,
  }
  queue[queue.tail] = task
  return task, is_first
end

-- Notes that the head of a queue cannot go on before the host has fetched what it needs.
local function park(p, task)
  p.parked[#p.parked + 1] = task
  p.c.is_unordered = 1
end

-- Wants what a task needs and is not here. True: something is missing.
local function want(K, c, task)
  local R, key = task.rule, task.key
  local is_missing = R.window ~= nil and (task.kind == nil or task.kind == WINDOW) and windows.want(K, c, R, task)
  if R.uses_state and K.host.find(c, R.id, key, #key) == nil then
    K.host.want(c, R.id, key, #key)
    is_missing = true
  end
  return is_missing
end

---An event whose state, or window, is not here: parks it.
function tasks.defer(K, p, R, i, event, key)
  K.mark.rule = 0 -- kernel.lua (5)
  local task = tasks.add(p, R, i, event, key)
  want(K, p.c, task)
  park(p, task)
end

---True when the event may not run straight through: it is queued, or has run as a task because its rule asks.
function tasks.must_wait(K, p, R, i, event, key)
  K.mark.rule = 0 -- kernel.lua (5)
  if not queue_of(p, R, key) and not R.asks then
    K.mark.rule = R.index
    return false
  end
  local _, is_first = tasks.add(p, R, i, event, key)
  if is_first then tasks.run_queue(K, p, R, key) end
  p.c.at_entry = i
  return true
end

-- ── running one ─────────────────────────────────────────────────────────────────────────────────────────────────────────

---What a task's handler is. Runs in the task's coroutine, because there errors are caught.
local function handle(event, ctx)
  local task = call.task
  local R, K = task.rule, task.kernel
  if task.must_migrate then
    local c = call.partition.c
    rawset(ctx, "state", K.migrated(c, R, K.host.find(c, R.id, task.key, #task.key), task.key))
  end
  if task.kind ~= nil then
    if task.span then return windows.run_close(K, call.partition.c, task, ctx) end
    return R.on_timer(event, ctx)
  end
  if R.window then return windows.run_event(K, call.partition.c, task, event, ctx) end
  return R.on_event(event, ctx)
end

-- What a task's coroutine runs: handler after handler. An error is caught where the stack still stands (a dead coroutine no
-- longer knows the line), and the coroutine lives on. The rule is marked as running only in here, and not while it waits for an
-- answer (context.lua): stopped at its last or first instruction, it leaves this coroutine, and nothing of the queues.
local function handler_loop(mark, index, on_error, event, ctx)
  while true do
    mark.rule = index
    local ok, err = xpcall(handle, on_error, event, ctx)
    mark.rule = 0
    event, ctx = coroutine.yield(ok and DONE or FAILED, err)
  end
end

-- A coroutine that was stopped outside of its handler is dead, and its rule still marked.
local function unmarked(mark, ...)
  mark.rule = 0
  return ...
end

-- Starts or resumes a task. Returns what its coroutine gave, or nil when it first needs what is not here.
local function advance(K, p, task)
  local R, c, mark = task.rule, p.c, K.mark
  call.key, call.now = task.key, task.now
  if task.co then
    call.ordinal, call.bytes, call.random, call.pending = task.ordinal, task.bytes, task.random, task.pending
    return unmarked(mark, coroutine.resume(task.co, task.answer, task.refusal))
  end
  task.has_state = R.uses_state
  if want(K, c, task) then return nil end
  task.ctx = task.ctx or table.remove(R.spare_contexts) or context.create(K, R)
  rawset(task.ctx, "key", task.key)
  rawset(task.ctx, "state", nil)
  rawset(task.ctx, "window", nil)
  task.must_migrate, task.record, task.is_late, task.kernel = nil, nil, nil, K
  if R.uses_state then
    local state = K.state_of(c, K.host.find(c, R.id, task.key, #task.key), R.state_version)
    if state then rawset(task.ctx, "state", state) else task.must_migrate = true end
  end
  call.ordinal, call.bytes, call.random, call.pending = 0, 0, nil, nil
  task.co = table.remove(R.spare_coroutines)
  if task.co then return unmarked(mark, coroutine.resume(task.co, task.event, task.ctx)) end
  task.co = coroutine.create(handler_loop)
  return unmarked(mark, coroutine.resume(task.co, mark, R.index, K.on_error, task.event, task.ctx))
end

---The same with the running time of its earlier turns. Only a task that was seen running at a tick is measured: that costs
-- two system calls a turn. (So a rule that asks in an endless loop is stopped, too.)
function tasks.advance(K, p, task)
  local mark, cpu_us = K.mark, K.host.cpu_us
  local began = task.spent_us and cpu_us()
  if began then
    if limits.is_over(K, task) then return false, UNWIND end
    mark.spent_us = task.spent_us
  end
  local ok, first, second = advance(K, p, task)
  if began then
    task.spent_us = task.spent_us + cpu_us() - began
  elseif mark.is_seen ~= 0 then
    task.spent_us = 0
  end
  return ok, first, second
end

-- After a handler returned: keeps its state, its window and its timers.
local function finish(K, p, task)
  local R, c = task.rule, p.c
  if task.is_late then
    K:tell_late(p, R, task.entry, task.key, task.now, task.watermark)
    if not R.on_late then return end
  end
  local slot = task.has_state and K.host.find(c, R.id, task.key, #task.key) or nil
  K.mark.rule = R.index
  local has_failed = K:keep(p, c, R, slot, task.record, task.ctx, task.entry, task.key, task)
  K.mark.rule = 0
  if has_failed then return end
  if task.kind == WINDOW then
    windows.tell_span(c, task)
    windows.consume(K, c, task)
  end
  R.passed = R.passed + 1
end

---After a handler failed. False: it must be run again from its start.
function tasks.give_up(K, p, task, err, trace)
  local R, c, i = task.rule, p.c, task.entry
  K.mark.rule = 0
  K.undo_effects(c, i, R.index, task)
  local may_again = call.unwind == "redo"
  if may_again then
    call.unwind = nil
    if K.host.redo then K.host.redo(c, i, R) end
  elseif memory.is_out(err) then
    may_again = memory.may_try_again(K, p, R, i)
  end
  if not may_again then
    K:fail_with(p, R, i, err, trace, task.key, task)
    if task.kind == WINDOW then windows.consume(K, c, task) end
    return true
  end
  if task.kind ~= nil then return false end
  local built, event = xpcall(tasks.event_again, K.on_error, K, p, R, i)
  K.mark.rule = 0
  if built then
    task.event = event
    return false
  end
  if memory.is_out(event) then memory.blame(K) end
  K:fail_with(p, R, i, event, "", task.key)
  return true
end

-- As in step.lua. What could be upgraded before can be now, but for a rule that is no function of its event.
local function upgraded(R, event, texts)
  local result, why = R.upgrade(event, texts)
  if result then return result end
  call.upgrading = true
  error(why, 0)
end

---The event of a task once more: its handler has begun, and may have changed the table.
function tasks.event_again(K, p, R, i)
  local c = p.c
  local s, tokens = K.host.decode(c, i), c.event_tokens.list
  local event
  K.mark.rule = R.index
  if s >= 0 then event = (R.builders[s] or K.constructor(R, tokens, s))(tokens) else event = K.generic(R, tokens) end
  call.key, call.ordinal, call.random = nil, 2147483647, nil -- as in step.lua
  if R.time_function then R.time_function(event) end
  if R.when_function then R.when_function(event) end
  if R.upgrade then event = upgraded(R, event, c.texts ~= 0) end
  if R.check then R.check(event, c.texts ~= 0) end
  if R.key_function then R.key_function(event) end
  K.mark.rule = 0
  return event
end

-- What took the worker down is not called again: it is a letter, and over.
local function bury(K, p, task)
  local is_window, blame = task.kind == WINDOW, task.blame
  if is_window and want(K, p.c, task) then
    park(p, task)
    return false
  end
  if is_window then task.payload = windows.payload(K, p.c, task) end
  K:fail_event(p, task.rule, task.entry, blame.reason, blame.message, nil, task.key, task)
  if is_window then windows.consume(K, p.c, task) end
  return true
end

---Runs one task until it is done (true) or waits (false).
function tasks.run(K, p, task)
  local R, c = task.rule, p.c
  if task.blame then return bury(K, p, task) end
  K.host.note(c, task.entry)
  c.at_entry, c.clock_ms = task.entry, task.clock_ms
  call.task, call.rule = task, R
  local ok, first, second = K.advance(K, p, task)
  call.task = nil
  task.ordinal, task.bytes, task.random, task.pending = call.ordinal, call.bytes, call.random, call.pending
  if ok == nil or (ok and first == ASK) then
    if ok then K:ask(p, task, second) end
    park(p, task)
    return false
  end
  local co, is_over = task.co, true
  task.co = nil
  if ok and (first == DONE or first == FAILED) then
    R.spare_coroutines[#R.spare_coroutines + 1] = co
    if first == DONE then ok, second = xpcall(finish, K.on_error, K, p, task) end
    if first == FAILED or not ok then is_over = tasks.give_up(K, p, task, second, call.trace) end
  else -- the coroutine itself is lost
    is_over = tasks.give_up(K, p, task, ok and "a handler must not yield" or first, call.unwind == "time" and call.trace or "")
  end
  K.mark.rule, K.mark.leaving = 0, 0
  if not is_over then return tasks.run(K, p, task) end
  R.spare_contexts[#R.spare_contexts + 1] = task.ctx
  return true
end

---Runs the queue of a rule and key until it is empty or its head waits. (A task may run when later events have passed already;
---for it the clock stands at its own.)
function tasks.run_queue(K, p, R, key)
  local queues, latest = p.waiting[R.index], p.c.clock_ms
  local queue = queues[key]
  while queue.head <= queue.tail do
    local is_done = tasks.run(K, p, queue[queue.head])
    p.c.clock_ms = latest
    if not is_done then return end
    queue[queue.head] = nil
    queue.head = queue.head + 1
  end
  queues[key] = nil
  p.waiting_count = p.waiting_count - 1
end

---Goes on with what was parked, in the order of the batch, now that the host has fetched what it needed.
function tasks.resume(K, p)
  local ready, c = p.parked, p.c
  p.parked, p.is_resumed = {}, true
  table.sort(ready, function(a, b)
    local first, second = entry.position(c, a.entry), entry.position(c, b.entry)
    if first ~= second then return first < second end
    return a.rule.index < b.rule.index
  end)
  for _, task in ipairs(ready) do tasks.run_queue(K, p, task.rule, task.key) end
end

return tasks
