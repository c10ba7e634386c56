-- window.lua: `tidemill.window`: what a rule needs to say how much happened lately.
--
--   windows     tumbling, sliding, session, count: what the field `window` of a rule is set to
--   aggregates  count, sum, min, max, mean, first, last: kept in fields of ctx.window, and merged by window.merge
--   rings       counts and sums over the last N buckets, kept in ctx.state: asked at every event, with no window to wait for
--
-- All that they keep is plain (numbers, and arrays of numbers), so it packs small and outlives reload and restart. None of them
-- looks at a clock: the time is an argument, ctx.now.
local duration = require "tidemill.duration"
local pairs = require("tidemill.each").pairs

local type, tonumber, floor, abs, huge = type, tonumber, math.floor, math.abs, math.huge

---How much happened, and when it is known: windows, aggregates, rings.
---@class tidemill.window.module
local window = {}

-- ── windows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

---What the field `window` of a rule is: made by tumbling, sliding, session or count.
---@class tidemill.window
---@field kind "tumbling"|"sliding"|"session"|"count"
---@field size? number    ms, of tumbling and sliding
---@field step? number    ms, of sliding
---@field gap? number     ms, of session
---@field count? number   events, of count

-- The whole ms of a duration, at least one. Misuse raises where the rule called: two levels up.
local function span_of(v, name)
  local ms, why = duration.parse(v)
  if not ms then error(("window.%s: %s"):format(name, why), 3) end
  if ms < 1 then error(("window.%s: it must be 1 ms or more"):format(name), 3) end
  return ms
end

local function whole(v, name, cure)
  if type(v) ~= "number" or v < 1 or v % 1 ~= 0 or v >= 2147483648 then
    error(("window.%s: expects a whole number from 1 on, %s"):format(name, cure), 3)
  end
  return v
end

---Windows side by side: each event lies in one. They begin at multiples of their size since 1970 UTC.
---@param size string|number  "10s", or ms
---@return tidemill.window
function window.tumbling(size)
  return { kind = "tumbling", size = span_of(size, "tumbling(size)") }
end

---Windows of `size` that overlap: one begins at every multiple of `step` since 1970 UTC, and each event lies in size / step of
---them. An event is counted once, in a pane of `step`; a window is its panes, put together by the rule's `merge`.
---@param size string|number  a multiple of step
---@param step string|number
---@return tidemill.window
function window.sliding(size, step)
  local size_ms, step_ms = span_of(size, "sliding(size, step): size"), span_of(step, "sliding(size, step): step")
  if step_ms > size_ms then
    error(("window.sliding(size, step): the step (%.0f ms) is longer than the size (%.0f ms), so that events between two windows "
      .. "would be in none; the size comes first"):format(step_ms, size_ms), 2)
  end
  if size_ms % step_ms ~= 0 then
    local below = size_ms - size_ms % step_ms
    error(("window.sliding(size, step): the size (%.0f ms) must be a multiple of the step (%.0f ms), as windows are made of "
      .. "whole steps; sizes that fit are %.0f and %.0f"):format(size_ms, step_ms, below, below + step_ms), 2)
  end
  return { kind = "sliding", size = size_ms, step = step_ms }
end

---A window that lasts as long as events of its key are less than `gap` apart. An event between two sessions joins them, by the
---rule's `merge`.
---@param gap string|number
---@return tidemill.window
function window.session(gap)
  return { kind = "session", gap = span_of(gap, "session(gap)") }
end

-- ── aggregates ──────────────────────────────────────────────────────────────────────────────────────────────────────────

-- What an aggregate keeps is for it alone to read; nil is none yet. `add` may change what it is given and returns it, `merge`
-- changes neither of its two.

---What comes of many values, kept in a field of ctx.window: `ctx.window.total = window.sum.add(ctx.window.total, event.amount)`.
---@class tidemill.window.aggregate
---@field add fun(kept: any, value: any, at?: number): any   with one more value; `at` (ctx.now) is for first and last
---@field merge fun(a: any, b: any): any                     both of them together
---@field value fun(kept: any): any                          what has come of it

-- Text of a number is one, as entries of plain fields have no other. nan would stay in a sum for ever.
local function number_of(v, name)
  local n = type(v) == "number" and v or type(v) == "string" and tonumber(v)
  if not n or n ~= n then
    error(("window.%s.add(kept, value): expects a number, got %s"):format(name, n and "nan" or "a " .. type(v)), 3)
  end
  return n
end

local count = {}

---@return number kept
function count.add(kept) return (kept or 0) + 1 end

function count.merge(a, b) return (a or 0) + (b or 0) end

---@return number
function count.value(kept) return kept or 0 end

---How many. Called with a number it is a window: `window.count(100)` closes with every hundredth event of a key.
---@class tidemill.window.count: tidemill.window.aggregate
---@overload fun(events: number): tidemill.window
window.count = setmetatable(count, {
  __metatable = "window.count",
  __call = function(_, events)
    return { kind = "count", count = whole(events, "count(events)", "after how many events of a key a window closes") }
  end,
})

-- { sum, what rounding has taken from it }: Neumaier's summation ("Rundungsfehleranalyse einiger Verfahren zur Summation
-- endlicher Summen", ZAMM 54, 1974), so that a million cents do not depend on their order, nor on how they were merged.
local function add_number(kept, v)
  local sum = kept[1]
  local total = sum + v
  if abs(sum) >= abs(v) then
    kept[2] = kept[2] + ((sum - total) + v)
  else
    kept[2] = kept[2] + ((v - total) + sum)
  end
  kept[1] = total
end

local function total_of(kept)
  local lost = kept[2]
  if lost - lost ~= 0 then return kept[1] end -- not finite: then the sum is infinite, and nothing was lost
  return kept[1] + lost
end

---Sum, without the errors of rounding that adding up brings.
---@type tidemill.window.aggregate
window.sum = {
  add = function(kept, v)
    local n = number_of(v, "sum")
    kept = kept or { 0, 0 }
    add_number(kept, n)
    return kept
  end,
  merge = function(a, b)
    if not a or not b then return a or b end
    local both = { a[1], a[2] + b[2] }
    add_number(both, b[1])
    return both
  end,
  value = function(kept) return kept and total_of(kept) or 0 end,
}

---Mean; nil when there was no value.
---@type tidemill.window.aggregate
window.mean = {
  add = function(kept, v)
    local n = number_of(v, "mean")
    kept = kept or { 0, 0, 0 }
    add_number(kept, n)
    kept[3] = kept[3] + 1
    return kept
  end,
  merge = function(a, b)
    if not a or not b then return a or b end
    local both = { a[1], a[2] + b[2], a[3] + b[3] }
    add_number(both, b[1])
    return both
  end,
  value = function(kept) return kept and total_of(kept) / kept[3] or nil end,
}

local function least(a, b)
  if a == nil or b == nil then return a or b end
  return b < a and b or a
end

local function most(a, b)
  if a == nil or b == nil then return a or b end
  return b > a and b or a
end

local function itself(kept) return kept end

---The least; nil when there was no value.
---@type tidemill.window.aggregate
window.min = { add = function(kept, v) return least(kept, number_of(v, "min")) end, merge = least, value = itself }

---The most; nil when there was no value.
---@type tidemill.window.aggregate
window.max = { add = function(kept, v) return most(kept, number_of(v, "max")) end, merge = most, value = itself }

-- { time, value }. Of equal times the one that came first is the first, and the one that came last the last.

local function check_time(at, name)
  if type(at) ~= "number" or at ~= at then
    error(("window.%s.add(kept, value, at): `at` must be the value's time, as ctx.now"):format(name), 3)
  end
end

local function earlier(a, b)
  if not a or not b then return a or b end
  return b[1] < a[1] and b or a
end

local function later(a, b)
  if not a or not b then return a or b end
  return b[1] >= a[1] and b or a
end

local function dated(kept) return kept and kept[2] end

---The value of the earliest event, whenever it came; nil when there was none. `add(kept, value, at)` needs its time.
---@type tidemill.window.aggregate
window.first = {
  add = function(kept, v, at)
    check_time(at, "first")
    if v == nil or (kept and at >= kept[1]) then return kept end
    return { at, v }
  end,
  merge = earlier,
  value = dated,
}

---The value of the latest event, whenever it came; nil when there was none. `add(kept, value, at)` needs its time.
---@type tidemill.window.aggregate
window.last = {
  add = function(kept, v, at)
    check_time(at, "last")
    if v == nil or (kept and at < kept[1]) then return kept end
    return { at, v }
  end,
  merge = later,
  value = dated,
}

---A rule's `merge` for windows whose fields are aggregates:  merge = window.merge { n = window.count, total = window.sum }
---A function of one's own, which is called with both values, either of which may be nil, goes as well. A field of a window that
---is not named raises: it would be lost.
---@param fields table<string, tidemill.window.aggregate|fun(a: any, b: any): any>
---@return fun(a: table, b: table): table
function window.merge(fields)
  if type(fields) ~= "table" then error("window.merge: expects a table such as { n = window.count }", 2) end
  local names, merges, known = {}, {}, {}
  for name, one in pairs(fields) do
    local merge = type(one) == "table" and one.merge or one
    if type(name) ~= "string" or type(merge) ~= "function" then
      error(("window.merge: the field '%s' must be an aggregate such as window.sum, or a function(a, b)")
        :format(tostring(name)), 2)
    end
    names[#names + 1], known[name] = name, merge
  end
  table.sort(names)
  for n, name in ipairs(names) do merges[n] = known[name] end
  local function check(t)
    for name in pairs(t) do
      if not known[name] then
        error(("window.merge: the window has a field '%s', and nothing says how two of it become one: name it, too")
          :format(tostring(name)), 0)
      end
    end
  end
  return function(a, b)
    check(a)
    check(b)
    local both = {}
    for n = 1, #names do
      local name = names[n]
      both[name] = merges[n](a[name], b[name])
    end
    return both
  end
end

-- ── rings ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

-- A ring is one array of numbers:
--
--   WIDTH  N  NEWEST  counts of N buckets  [sums of N buckets]
--
-- Bucket b holds the times from b * WIDTH up to (b + 1) * WIDTH, and lies at place b % N; NEWEST is the highest b so far. Sums
-- are there from the first amount on. `add` clears what the ring moves over, which is a bucket or none in most calls (8 ns).
-- The buckets are added up when they are asked for (60 of them: 0.1 µs), because a sum that old amounts are taken away from
-- drifts away from the truth.
local WIDTH, SIZE, NEWEST, HEAD = 1, 2, 3, 3

local function new_ring(width, n, newest)
  local t = { width, n, newest }
  for i = HEAD + 1, HEAD + n do t[i] = 0 end
  return t
end

local function move_to(t, n, b)
  local newest = t[NEWEST]
  local has_sums = t[HEAD + n + 1] ~= nil
  for old = newest + 1, b - newest < n and b or newest + n do
    local place = HEAD + 1 + old % n
    t[place] = 0
    if has_sums then t[place + n] = 0 end
  end
  t[NEWEST] = b
end

-- Counts `how_many` more in bucket b, and `amount` where there is one.
local function put(t, n, b, how_many, amount)
  if b > t[NEWEST] then
    move_to(t, n, b)
  elseif b <= t[NEWEST] - n then
    return
  end
  local place = HEAD + 1 + b % n
  t[place] = t[place] + how_many
  if amount then
    if t[HEAD + n + 1] == nil then
      for i = HEAD + n + 1, HEAD + 2 * n do t[i] = 0 end
    end
    t[place + n] = t[place + n] + amount
  end
end

-- The ring in buckets of this width and number. One of others, that an earlier version of the rule has left, is poured over:
-- each of its buckets goes where its begin lies.
local function fit(t, width, n)
  local old_width, old_n, newest = t[WIDTH], t[SIZE], t[NEWEST]
  if old_width == width and old_n == n then return t end
  local new = new_ring(width, n, floor(newest * old_width / width))
  for b = newest - old_n + 1, newest do
    local place = HEAD + 1 + b % old_n
    if t[place] > 0 then put(new, n, floor(b * old_width / width), t[place], t[place + old_n]) end
  end
  return new
end

-- The sum of the buckets that end with the one of `now`; `shift` leads from counts to sums.
local function total(t, n, b, shift)
  local newest, sum = t[NEWEST], 0
  if t[HEAD + n + shift] == nil then return 0 end -- no amount was given so far
  local first, last = (b > newest and b or newest) - n + 1, b < newest and b or newest
  local place, stop = HEAD + 1 + shift + first % n, HEAD + 1 + shift + n
  for _ = first, last do
    sum = sum + t[place]
    place = place + 1
    if place == stop then place = place - n end
  end
  return sum
end

---Counts of the last N buckets, kept in a field of ctx.state.
---@class tidemill.window.ring
---@field add fun(kept: number[]|nil, now: number, amount?: number): number[]   counts an event, and its amount; keep the result
---@field count fun(kept: number[]|nil, now: number): number   events in the N buckets that end with the one of `now`
---@field sum fun(kept: number[]|nil, now: number): number     their amounts

local function is_ring(t)
  return type(t) == "table" and type(t[WIDTH]) == "number" and type(t[SIZE]) == "number" and type(t[NEWEST]) == "number"
    and t[HEAD + t[SIZE]] ~= nil
end

local function check_call(t, now, name)
  if type(now) ~= "number" or now ~= now or abs(now) == huge then
    error(("ring.%s(kept, now): `now` must be a time, as ctx.now"):format(name), 3)
  end
  if t ~= nil and not is_ring(t) then
    error(("ring.%s(kept, now): `kept` must be what ring.add returned, or nil; this %s is not"):format(name, type(t)), 3)
  end
end

---A counter of what happened lately, in buckets that drop out one by one:
---
---    local velocity = tidemill.window.ring("1m", 60)                       -- the last hour, in minutes; at file level
---    ctx.state.paid = velocity.add(ctx.state.paid, ctx.now, event.amount)
---    if velocity.sum(ctx.state.paid, ctx.now) > 1000 then ... end
---
---Events may come in any order: one that is older than all buckets is left out. A ring that another width or number of buckets
---has left in the state is poured into the new ones.
---@param width string|number   of a bucket: "1m", or ms
---@param buckets number        how many
---@return tidemill.window.ring
function window.ring(width, buckets)
  local ms = span_of(width, "ring(width, buckets): width")
  local n = whole(buckets, "ring(width, buckets)", "how many buckets are kept")
  local ring = {}
  function ring.add(t, now, amount)
    check_call(t, now, "add")
    local number = tonumber(amount)
    if amount ~= nil and (number == nil or number ~= number) then
      error("ring.add(kept, now, amount): the amount must be a number, got " .. (number and "nan" or "a " .. type(amount)), 2)
    end
    local b = floor(now / ms)
    t = t and fit(t, ms, n) or new_ring(ms, n, b)
    put(t, n, b, 1, number)
    return t
  end
  function ring.count(t, now)
    check_call(t, now, "count")
    return t and total(fit(t, ms, n), n, floor(now / ms), 0) or 0
  end
  function ring.sum(t, now)
    check_call(t, now, "sum")
    return t and total(fit(t, ms, n), n, floor(now / ms), n) or 0
  end
  return ring
end

return window
