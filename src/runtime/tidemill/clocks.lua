-- clocks.lua: event time: when an event says it happened, and how far a rule has come (its watermark).
--
--   watermark = min over the rule's streams of the newest event time seen on each, less `lateness`; it never goes back
--
-- A stream on which nothing came for `idle` (from its last entry's ID to the position's clock) advances by itself with the
-- clock. One that never had an event takes no part after `idle`. Watermarks are as in: Akidau et al., The Dataflow Model, VLDB
-- 2015.
--
-- A partition has a clock for each rule that needs one (p.clocks, by the rule's index):
--   streams                   the numbers of those that the partition reads and the rule wants
--   seen, last, began         by stream: newest event time, ms of the last entry's ID, the clock when it was first known of
--   watermark                 -math.huge: none yet
--   moved_at                  the position's clock that moved it there
--   low                       what it was made of
--   recheck                   the clock from which on a stream that stands still may change it
--   event_ms, reason, fault   of the event that is being run: its time, or why it has none
--   log                       what the batch has changed: stream, seen, last; and the watermark before
--
-- (1) What a batch changed is told to the host when it is done (report), and taken back when it is run again (rollback).
local call = require "tidemill.call"
local event_time = require "tidemill.event_time"
local memory = require "tidemill.memory"
local shape = require "tidemill.shape"
local timers = require "tidemill.timers"

local clocks = {}

local NUMBER, ARRAY, STRING = shape.TYPES.NUMBER, shape.TYPES.ARRAY, shape.TYPES.STRING
local EVENT, WINDOW, KINDS = timers.EVENT, timers.WINDOW, timers.KINDS
local MS_FROM = 1e11 -- as in event_time.lua
local huge = math.huge

-- ── what a partition knows ──────────────────────────────────────────────────────────────────────────────────────────────

local function new_clock(R)
  return {
    rule = R, streams = {}, seen = {}, last = {}, began = {}, watermark = -huge, moved_at = -huge, low = -huge, recheck = huge,
    log_streams = {}, log_seen = {}, log_last = {}, logged = {}, log_count = 0, watermark_before = -huge,
    moved_before = -huge,
  }
end

---Makes the clocks of a partition, that know nothing yet.
function clocks.open(K, p)
  p.clocks = {}
  for _, R in ipairs(K.clocked) do p.clocks[R.index] = new_clock(R) end
end

---The partition reads a stream; `last_ms`: of the ID of its last entry that is done (0: none).
function clocks.attend(K, p, stream, last_ms)
  for _, R in ipairs(K.lists[stream].rules) do
    local clock = p.clocks[R.index]
    if clock and not clock.last[stream] then
      clock.streams[#clock.streams + 1] = stream
      clock.last[stream] = last_ms
      if p.c.clock_ms > 0 then clock.began[stream] = p.c.clock_ms end
      clock.recheck = -huge
    end
  end
end

---What an earlier batch left; `stream` 0: the watermark.
function clocks.restore(p, R, stream, ms)
  local clock = p.clocks[R.index]
  if not clock then return end
  if stream == 0 then
    clock.watermark, clock.watermark_before = ms, ms
  else
    clock.seen[stream] = ms
  end
  clock.recheck = -huge
end

-- ── the watermark ───────────────────────────────────────────────────────────────────────────────────────────────────────

-- Computes it for the position's clock `ms`.
local function compute(clock, ms)
  local R, low, recheck, has_seen = clock.rule, huge, huge, false
  for n = 1, #clock.streams do
    local s = clock.streams[n]
    local seen, last = clock.seen[s], clock.last[s]
    if seen then
      has_seen = true
      if ms - last >= R.idle then
        seen = seen + (ms - last)
        recheck = math.min(recheck, ms + 1)
      else
        recheck = math.min(recheck, last + R.idle)
      end
      low = math.min(low, seen)
    else
      local began = clock.began[s]
      if not began and ms > 0 then
        began = ms
        clock.began[s] = ms
      end
      if not began or ms - began < R.idle then
        low = -huge
        recheck = math.min(recheck, (began or 0) + R.idle)
      end
    end
  end
  clock.recheck = recheck
  if not has_seen then return end
  clock.low = low
  if low - R.lateness > clock.watermark then clock.watermark, clock.moved_at = low - R.lateness, ms end
end

-- The first look at a clock in a batch notes what it was.
local function note(clock, s)
  if clock.logged[s] then return end
  local n = clock.log_count + 1
  clock.logged[s], clock.log_count = true, n
  clock.log_streams[n], clock.log_seen[n], clock.log_last[n] = s, clock.seen[s] or false, clock.last[s]
end

-- An entry of stream `s` has come, with an event time or without one (nil).
local function observe(c, clock, s, time, entry_ms, ms)
  note(clock, s)
  if entry_ms > clock.last[s] then clock.last[s] = entry_ms end
  local seen = clock.seen[s]
  if time and (not seen or time > seen) then clock.seen[s] = time end
  -- Only the slowest stream moves the watermark.
  if not seen or seen <= clock.low or ms >= clock.recheck then compute(clock, ms) end
  if clock.recheck < c.next_idle_ms then c.next_idle_ms = clock.recheck end
end

---The watermark if nothing comes until the position's clock is `ms`; -math.huge: none yet. Changes nothing.
function clocks.foresee(clock, ms)
  local R, low, has_seen = clock.rule, huge, false
  for _, s in ipairs(clock.streams) do
    local seen, began = clock.seen[s], clock.began[s]
    local still = seen and ms - clock.last[s]
    if seen then
      has_seen = true
      low = math.min(low, still >= R.idle and seen + still or seen)
    elseif not began or ms - began < R.idle then
      low = -huge
    end
  end
  return has_seen and math.max(low - R.lateness, clock.watermark) or clock.watermark
end

---Moves one clock on to the position's clock `ms`.
function clocks.advance(_, clock, ms)
  compute(clock, ms)
end

---Moves all of them, and says when they are to be moved again.
function clocks.advance_all(K, p, ms)
  local again = huge
  for _, R in ipairs(K.clocked) do
    local clock = p.clocks[R.index]
    if ms >= clock.recheck then compute(clock, ms) end
    again = math.min(again, clock.recheck)
  end
  p.c.next_idle_ms = again
end

---The position's clock at which a watermark comes to a due time, if no entry comes; math.huge: never.
function clocks.reaches(clock, due)
  local R, at, has_seen = clock.rule, -huge, false
  if due <= clock.watermark then return clock.moved_at end -- it was left behind when a batch ended there
  local target = due + R.lateness
  for _, s in ipairs(clock.streams) do
    local seen, last = clock.seen[s], clock.last[s]
    if not seen then
      local began = clock.began[s]
      at = math.max(at, began and began + R.idle or huge)
    else
      has_seen = true
      if seen < target then at = math.max(at, last + math.max(R.idle, target - seen)) end
    end
  end
  return has_seen and at or huge
end

---The first clock up to `limit` at which a stream that stands still makes something due, and whose; math.huge: none.
function clocks.next(K, p, limit)
  local first, found = huge, nil
  for _, R in ipairs(K.clocked) do
    local base = R.id * KINDS
    local due = math.min(p.c.nexts[base + EVENT], p.c.nexts[base + WINDOW])
    if due < huge then
      local clock = p.clocks[R.index]
      local at = clocks.reaches(clock, due)
      if at < first and at <= limit then first, found = at, clock end
    end
  end
  return first, found
end

-- ── the batch ───────────────────────────────────────────────────────────────────────────────────────────────────────────

---Begins a batch: what the one before changed stays.
function clocks.begin(K, p)
  local idle = huge
  for _, R in ipairs(K.clocked) do
    local clock, base = p.clocks[R.index], R.id * KINDS
    clock.watermark_before, clock.moved_before = clock.watermark, clock.moved_at
    local due = math.min(p.c.nexts[base + EVENT], p.c.nexts[base + WINDOW])
    idle = math.min(idle, due <= clock.watermark and -huge or clock.recheck)
  end
  p.c.next_idle_ms = idle
end

local function forget_log(clock)
  for n = 1, clock.log_count do clock.logged[clock.log_streams[n]] = nil end
  clock.log_count = 0
end

---Takes back what the batch changed. (1)
function clocks.rollback(K, p)
  for _, R in ipairs(K.clocked) do
    local clock = p.clocks[R.index]
    for n = 1, clock.log_count do
      local s = clock.log_streams[n]
      clock.seen[s], clock.last[s] = clock.log_seen[n] or nil, clock.log_last[n]
    end
    forget_log(clock)
    clock.watermark, clock.moved_at = clock.watermark_before, clock.moved_before
    clock.low, clock.recheck = -huge, -huge
    p.c.next_idle_ms = -huge
  end
end

---Tells the host what the batch changed. (1)
function clocks.report(K, p)
  for _, R in ipairs(K.clocked) do
    local clock = p.clocks[R.index]
    for n = 1, clock.log_count do
      local s = clock.log_streams[n]
      local seen = clock.seen[s]
      if seen and seen ~= clock.log_seen[n] then K.host.seen(p.c, R.id, s, seen) end
    end
    forget_log(clock)
    if clock.watermark ~= clock.watermark_before then K.host.seen(p.c, R.id, 0, clock.watermark) end
  end
end

-- ── the time of an event ────────────────────────────────────────────────────────────────────────────────────────────────

-- Where the value of a field stands in the tokens of an event, 0 when it is not there; and whether that is so for its shape.
local function place_of(tokens, name)
  local at, is_fixed, found, found_is_fixed = 1, true, 0, true
  for _ = 1, tokens[0].len do
    local key, v = tokens[at], tokens[at + 1]
    if key.type == STRING and require("ffi").string(key.bytes, key.len) == name then found, found_is_fixed = at + 1, is_fixed end
    if v.type ~= NUMBER and v.size > 1 then is_fixed = false end -- somewhere in it may be an array, whose length varies
    if key.type == ARRAY then is_fixed = false end
    at = at + 1 + v.size
  end
  return found, found_is_fixed
end

local function time_of_field(R, tokens, s)
  local at = R.time_places[s]
  if not at then
    local is_fixed
    at, is_fixed = place_of(tokens, R.time_field)
    if is_fixed and s >= 0 then R.time_places[s] = at end
  end
  if at == 0 then return nil end
  local token = tokens[at]
  if token.type == NUMBER then
    local v = token.number
    if v >= MS_FROM and v < 2 ^ 53 then return math.floor(v) end
  end
  return event_time.parse((shape.build(tokens, at)))
end

-- The rule's own function: on the event as it is before `when`. What it raises is kept until the rule's turn.
local function time_of_function(K, p, R, clock, i, s)
  local tokens = p.c.event_tokens.list
  local build = s >= 0 and R.time_builders[s]
  if s >= 0 and not build then
    build = shape.constructor(tokens, 0)
    R.time_builders[s] = build
  end
  local event
  if build then event = build(tokens) else event = (shape.build(tokens, 0)) end
  call.rule, call.key, call.ordinal, call.random = R, nil, 2147483647, nil -- as in step.lua
  K.mark.rule = R.index
  local ok, v = xpcall(R.time_function, K.on_error, event)
  K.mark.rule, K.mark.leaving = 0, 0
  if ok then return event_time.parse(v) end
  if memory.is_out(v) and memory.may_try_again(K, p, R, i) then return time_of_function(K, p, R, clock, i, s) end
  clock.reason, clock.fault, clock.trace = K:reason_of(v)
  return nil
end

local function read_time(K, p, R, clock, i, s, entry_ms)
  clock.reason = nil
  if not R.time then
    clock.event_ms = entry_ms
    return entry_ms
  end
  local time
  if R.time_function then
    time = time_of_function(K, p, R, clock, i, s)
  else
    time = time_of_field(R, p.c.event_tokens.list, s)
  end
  if time and time > entry_ms + K.future_ms then
    clock.reason = "future"
    clock.fault = ("the event's time is %.0f ms ahead of its entry ID, more than `future` allows"):format(time - entry_ms)
    time = nil
  elseif not time and not clock.reason then
    clock.reason = "time"
    clock.fault = R.time_function and "`time` gave no time: ms, seconds or ISO 8601 text"
      or ("the time '%s' is missing, or no time (ms, seconds or ISO 8601 text)"):format(R.time_field)
  end
  clock.event_ms = time
  return time
end

---Reads the event's time for every rule of `rules` that has a clock, and moves it. Returns the first whose watermark makes
---something due (`from`: go on behind it), or nil.
function clocks.observe(K, p, i, s, rules, from)
  local c = p.c
  local e = c.entries[i]
  for n = from, #rules do
    local R = rules[n]
    local clock = p.clocks[R.index]
    local time = read_time(K, p, R, clock, i, s, e.ms)
    if e.attempts == 0 and clock.last[e.stream] then
      observe(c, clock, e.stream, time, e.ms, e.clock_ms)
      local base = R.id * KINDS
      if c.nexts[base + EVENT] <= clock.watermark or c.nexts[base + WINDOW] <= clock.watermark then return n, clock end
    end
  end
  return nil
end

---An entry that could not be decoded is a sign of life of its stream all the same.
function clocks.pass(p, i, rules)
  local e = p.c.entries[i]
  for n = 1, #rules do
    local clock = p.clocks[rules[n].index]
    if e.attempts == 0 and clock.last[e.stream] then observe(p.c, clock, e.stream, nil, e.ms, e.clock_ms) end
  end
end

---The clock that the states of a rule with `time` expire by.
function clocks.state_clock(clock)
  if clock.watermark > -huge then return clock.watermark end
  return clock.event_ms or 0
end

return clocks
