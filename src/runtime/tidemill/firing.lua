-- firing.lua: when timers and windows that are due fire (design 3.5).
--
-- In front of an entry, or at the end of a batch that has come to the tail:
--
--   before(entry) ── position's clock: wall timers, and streams that stand still ──┐
--   by_watermark(entry) ── the event moved it: its windows and event timers ───────┴─> fire_next ──> straight, or a task
--
-- (1) One after the other in the order of their due times: while one that fired waits for the host, only those of the very same
-- time fire (a wave: p.wave_due, p.wave_rule); then the batch ends in front of the entry (p.cut_at), and goes on from there.
-- (2) A batch fires FIRE_MOST at most. (3) An event that waits may set a timer that should have fired before entries that have
-- run: then the batch is run again, and ends before them (check).
local call = require "tidemill.call"
local clocks = require "tidemill.clocks"
local entry = require "tidemill.entry"
local ffi = require "tidemill.cdef"
local tasks = require "tidemill.tasks"
local timers = require "tidemill.timers"
local windows = require "tidemill.windows"

local firing = {}

local WALL, EVENT, WINDOW, KINDS = timers.WALL, timers.EVENT, timers.WINDOW, timers.KINDS
local FIRE_MOST = 1000
local FIRED = entry.FIRED

-- The states of what comes next are fetched together with that of the first: else each would be waited for alone.
local function fetch_ahead(K, p, R, kind, limit)
  local c, host = p.c, K.host
  local timer, n = K.peeked, 0
  while n < FIRE_MOST and host.timer_peek(c, R.id, kind, n, timer) do
    n = n + 1
    if timer.due_ms <= limit then
      local key = ffi.string(timer.key, timer.key_len)
      if R.uses_state and host.find(c, R.id, key, #key) == nil then host.want(c, R.id, key, #key) end
      if kind == WINDOW then windows.want_close(K, c, R, key, ffi.string(timer.name, timer.name_len), timer.due_ms) end
    end
  end
end

-- Does an event of its key still wait, which may cancel or replace what is due next?
local function is_awaited(K, p, R, kind)
  local timer = K.peeked
  if not K.host.timer_peek(p.c, R.id, kind, 0, timer) then return false end
  return tasks.are_waiting(p, R, ffi.string(timer.key, timer.key_len))
end

-- Fires the earliest of a queue in front of entry `i`. False: the batch must end here.
local function fire_next(K, p, R, kind, i, clock_ms, limit)
  local c = p.c
  local due, wave_rule = c.nexts[R.id * KINDS + kind], kind == WALL and 0 or R.index
  if p.wave_due and (due ~= p.wave_due or wave_rule ~= p.wave_rule) then return false end -- (1)
  local most = p.fired_most or FIRE_MOST
  if c.fired_count >= most or (c.fired_count > 0 and K.host.clock() >= c.deadline_ms) then
    c.has_more = 1
    return false
  end
  if p.waiting_count > 0 and is_awaited(K, p, R, kind) then return false end
  local k = K.host.fire(c, R.id, kind, R.index, i, kind == WALL and due or clock_ms)
  if k < 0 then
    c.is_short = 1
    return false
  end
  if c.is_peek == 0 and not firing.start(K, p, R, k) then
    if not p.wave_due then fetch_ahead(K, p, R, kind, limit) end
    p.wave_due, p.wave_rule = due, wave_rule
  end
  if c.is_peek == 0 and c.fired_count ~= c.fire_most then return true end
  c.has_more = 1
  return false
end

-- Inside of a protected call. The rule is marked in here, as in tasks.lua, and unmarked by `keep`.
local function call_timer(K, p, R, slot, name, i, key)
  K.mark.rule = R.index
  R.on_timer(name, R.ctx)
  return (K:keep(p, p.c, R, slot, nil, R.ctx, i, key))
end

-- Most timers have nothing to wait for: they run at once, without a task. False: it needs one.
local function run_straight(K, p, R, k, key, name, payload)
  local c, i, slot = p.c, FIRED + k, nil
  if R.asks or tasks.are_waiting(p, R, key) then return false end
  rawset(R.ctx, "state", nil)
  if R.uses_state then
    slot = K.host.find(c, R.id, key, #key)
    local state = slot ~= nil and K.state_of(c, slot, R.state_version)
    if not state then return false end -- it is not here, or has to be migrated
    rawset(R.ctx, "state", state)
  end
  rawset(R.ctx, "key", key)
  rawset(R.ctx, "window", nil)
  K.host.note(c, i)
  call.rule, call.key, call.task, call.payload = R, key, nil, payload
  call.ordinal, call.bytes, call.random, call.pending, K.pending.count = 0, 0, nil, K.pending, 0
  local ok, result = xpcall(call_timer, K.on_error, K, p, R, slot, name, i, key)
  local is_over = true
  if not ok then
    local task = { rule = R, entry = i, key = key, kind = c.fired[k].kind, payload = payload }
    is_over = tasks.give_up(K, p, task, result, call.trace)
  elseif not result then
    R.passed = R.passed + 1
  end
  K.mark.rule, K.mark.leaving, call.payload = 0, 0, nil
  return is_over
end

---Runs what fired, or is tried again: c.fired[k]. False: it waits.
function firing.start(K, p, R, k)
  local c = p.c
  local fired = c.fired[k]
  local key, name = ffi.string(fired.key, fired.key_len), ffi.string(fired.name, fired.name_len)
  c.at_entry = FIRED + k
  call.now = fired.entry.ms
  if K.fires then K.fires(p, R, k) end
  local blame = fired.is_blamed ~= 0 and { reason = ffi.string(fired.reason), message = ffi.string(fired.message) } or nil
  local is_retry = fired.entry.attempts > 0
  if is_retry and not R[fired.kind == WINDOW and "on_window" or "on_timer"] then
    K:fail_event(p, R, FIRED + k, "error", ("cannot be tried again: rule %s has no %s any more"):format(R.name,
      fired.kind == WINDOW and "window" or "on_timer"), nil, key)
    return true
  end
  c.clock_ms = R.time and p.clocks[R.index].watermark or fired.entry.clock_ms
  local payload = nil
  if fired.payload ~= nil then payload = ffi.string(fired.payload, fired.payload_len) end
  if fired.kind ~= WINDOW and not is_retry and not blame and run_straight(K, p, R, k, key, name, payload) then return true end
  local task, is_first = tasks.add(p, R, FIRED + k, name, key)
  task.kind, task.name, task.payload, task.blame = is_retry and "retry" or fired.kind, name, payload, blame
  if fired.kind == WINDOW then
    task.span = windows.span(name, fired.entry.ms, is_retry)
    task.event = task.span
    if is_retry then task.tables = windows.tables_of(K, task.payload) end
  end
  if is_first then tasks.run_queue(K, p, R, key) end
  return not tasks.are_waiting(p, R, key)
end

-- What a rule's watermark makes due. False: the batch must end here.
local function fire_by_watermark(K, p, R, clock, i, clock_ms)
  local c, base = p.c, R.id * KINDS
  while true do
    local window, event = c.nexts[base + WINDOW], c.nexts[base + EVENT]
    local kind = window <= event and WINDOW or EVENT
    if c.nexts[base + kind] > clock.watermark then return p.wave_due == nil end
    if not fire_next(K, p, R, kind, i, clock_ms, clock.watermark) then return false end
  end
end

-- The rule whose wall timer is the next.
local function next_wall(K, c)
  local due, found = math.huge, nil
  for _, R in ipairs(K.timed) do
    local its = c.nexts[R.id * KINDS + WALL]
    if its < due then due, found = its, R end
  end
  return found
end

-- Fires what is due when the position's clock comes to `clock_ms`, in front of entry `i`. False: the batch must end here.
local function fire_by_clock(K, p, i, clock_ms)
  local c = p.c
  while true do
    local wall = c.next_wall_ms
    local idle, clock = clocks.next(K, p, clock_ms)
    if math.min(wall, idle) > clock_ms then break end
    if wall <= idle then
      if wall > c.proven_ms then
        if c.is_exact == 0 then
          c.is_early = 1
          return false
        end
        break -- an ID from the future: they fire when TIME is there, and what is idle may wait as long
      end
      if not fire_next(K, p, next_wall(K, c), WALL, i, wall, math.min(clock_ms, c.proven_ms)) then return false end
    else
      if p.wave_due and idle > -math.huge then return false end -- (1)
      local fired, watermark = c.fired_count, clock.watermark
      clocks.advance(p, clock, idle)
      if not fire_by_watermark(K, p, clock.rule, clock, i, idle) then return false end
      if c.fired_count == fired and clock.watermark == watermark then break end -- never for ever, whatever the numbers are
    end
  end
  if p.wave_due then return false end
  if clock_ms >= c.next_idle_ms then clocks.advance_all(K, p, clock_ms) end
  return true
end

-- The first of what fired behind entry `i` that should have waited for what fires at this clock; nil: for anything.
local function first_fired(c, i, due)
  for k = 0, c.fired_count - 1 do
    local fired = c.fired[k]
    if fired.before > i and (not due or (fired.kind == WALL and fired.entry.ms or fired.entry.clock_ms) >= due) then
      return entry.position(c, FIRED + k)
    end
  end
end

---A task that had to wait has made something due: is that before what has run meanwhile? (3)
function firing.check(p, R, kind, due, task)
  local c, i = p.c, task.entry
  if not p.is_resumed or i >= FIRED then return end
  -- The position's clock at which it fires; nil: which entry moved the watermark there is not known, so one of those behind.
  local at_ms = due
  if kind ~= WALL then
    local clock = p.clocks[R.index]
    at_ms = due > clock.watermark and clocks.reaches(clock, due) or nil
  end
  local next_entry = i + 1
  while at_ms and next_entry <= p.last and c.entries[next_entry].clock_ms < at_ms do next_entry = next_entry + 1 end
  local at = first_fired(c, i, at_ms)
  if next_entry <= p.last then at = math.min(at or math.huge, next_entry + 0.5) end
  if at and (not p.conflict_at or at < p.conflict_at) then p.conflict_at = at end
end

-- After a piece of firing: `ok` or the end of the batch in front of entry `i`.
local function is_cut(p, i, ok)
  p.c.at_entry = i
  call.now = nil
  if ok then return false end
  p.cut_at = i
  return true
end

---Called when the clock of entry `i` has come to something that is due. True: the batch ends in front of the entry.
function firing.before(K, p, i)
  K.mark.rule = 0
  return is_cut(p, i, fire_by_clock(K, p, i, p.c.entries[i].clock_ms))
end

---At the end of the batch's entries, at the tail. True: there is more to do.
function firing.at_tail(K, p, count)
  local c = p.c
  if c.clock_ms < c.until_ms then c.clock_ms = c.until_ms end
  return is_cut(p, count, fire_by_clock(K, p, count, c.until_ms))
end

---The event of entry `i` has moved a rule's watermark. True: the batch ends in front of the entry.
function firing.by_watermark(K, p, R, clock, i)
  K.mark.rule = 0
  return is_cut(p, i, fire_by_watermark(K, p, R, clock, i, p.c.entries[i].clock_ms))
end

---The clock at which something fires next, when no entry comes; math.huge: never.
function firing.wake(K, p)
  return math.min(p.c.next_wall_ms, (clocks.next(K, p, math.huge)))
end

return firing
