-- windows.lua: what windows must give, worked out once more in the plainest way (design 3.3 and 3.5): for specs that compare.
--
--   local model = windows.model { kind = "session", gap = 1000, lateness = 200 }
--   local is_late = model:event(time, key, amount)   -- in the order of the stream; closes what its time closes first
--   model:finish()                                     -- the stream stands still: everything closes
--   model.lines                                        -- "KEY START STOP n=3 sum=17", in the order in which they closed
--
-- Kinds: tumbling (size), sliding (size, step), session (gap). A model is of one stream that never stands still before its end.
local engine = require "spec.support.engine"

local windows = {}
local Model = {}
Model.__index = Model

---- the rule ----

local MERGE = " merge = function(a, b) return { n = a.n + b.n, sum = a.sum + b.sum } end,"

local function needs_merge(window)
  return window:find "^s"
end

-- A rule with that window ("session(1000)"), which counts and adds up what `amount` is, and pushes a line for each window on the list
-- of its name. `head`: more fields, such as `time`; `stream`: source, default "orders".
function windows.rule(name, window, head, stream)
  return engine.rule([[
    local w = ctx.window
    w.n, w.sum = (w.n or 0) + 1, (w.sum or 0) + (tonumber(event.amount) or 0)]], ([[
  stream = %s, key = "k", window = require("tidemill.window").%s,%s
  on_window = function(span, ctx)
    ctx.redis.rpush("%s", ("%%s %%.0f %%.0f n=%%d sum=%%d"):format(ctx.key, span.start, span.stop, ctx.window.n, ctx.window.sum))
  end%s]]):format(stream or '"orders"', window, needs_merge(window) and MERGE or "", name, head and ", " .. head or ""))
end

---- what must come of it ----

function windows.model(options)
  return setmetatable({ kind = options.kind, size = options.size, step = options.step or options.size, gap = options.gap,
    lateness = options.lateness or 0, newest = -math.huge, watermark = -math.huge, open = {}, lines = {}, next_stop = math.huge,
    late = 0 }, Model)
end

local function closes_before(a, b)
  if a.stop ~= b.stop then
    return a.stop < b.stop
  end
  return a.key < b.key
end

-- The watermark comes to `ms`.
function Model:close_up_to(ms)
  self.watermark = math.max(self.watermark, ms)
  if self.next_stop > self.watermark then
    return
  end
  local closing, open = {}, {}
  self.next_stop = math.huge
  for _, window in ipairs(self.open) do
    if window.stop <= self.watermark then
      closing[#closing + 1] = window
    else
      open[#open + 1], self.next_stop = window, math.min(self.next_stop, window.stop)
    end
  end
  table.sort(closing, closes_before)
  for _, window in ipairs(closing) do
    self.lines[#self.lines + 1] = ("%s %.0f %.0f n=%d sum=%d"):format(window.key, window.start, window.stop, window.n, window.sum)
  end
  self.open = open
end

-- The newest time that was seen moves the watermark.
function Model:advance(time)
  self.newest = math.max(self.newest, time)
  self:close_up_to(self.newest - self.lateness)
end

function Model:add(key, start, stop, n, sum)
  self.open[#self.open + 1] = { key = key, start = start, stop = stop, n = n, sum = sum }
  self.next_stop = math.min(self.next_stop, stop)
end

-- Every window that has a place for `time` and is still open.
function Model:into_fixed(time, key, amount)
  local is_in = false
  for stop = time - time % self.step + self.step, time - time % self.step + self.size, self.step do
    if stop > self.watermark then
      is_in = true
      local found
      for _, window in ipairs(self.open) do
        found = window.key == key and window.stop == stop and window or found
      end
      if found then
        found.n, found.sum = found.n + 1, found.sum + amount
      else
        self:add(key, stop - self.size, stop, 1, amount)
      end
    end
  end
  return is_in
end

-- Joins all sessions of the key that it reaches, or opens one; is late when nothing is open that it could join.
function Model:into_session(time, key, amount)
  local joined, open = { start = time, stop = time + self.gap, n = 1, sum = amount }, {}
  for _, one in ipairs(self.open) do
    if one.key == key and time < one.stop and one.start < time + self.gap then
      joined.start, joined.stop = math.min(joined.start, one.start), math.max(joined.stop, one.stop)
      joined.n, joined.sum = joined.n + one.n, joined.sum + one.sum
    else
      open[#open + 1] = one
    end
  end
  if joined.stop <= self.watermark then
    return false
  end
  self.open = open
  self:add(key, joined.start, joined.stop, joined.n, joined.sum)
  return true
end

-- An event whose time has moved the watermark already. True: it is late.
function Model:place(time, key, amount)
  local is_in
  if self.kind == "session" then
    is_in = self:into_session(time, key, amount)
  else
    is_in = self:into_fixed(time, key, amount)
  end
  self.late = self.late + (is_in and 0 or 1)
  return not is_in
end

-- One event. True: it is late.
function Model:event(time, key, amount)
  self:advance(time)
  return self:place(time, key, amount)
end

function Model:finish()
  self:close_up_to(1e300)
  return self.lines
end

return windows
