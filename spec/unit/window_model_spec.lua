-- Windows of the kernel, with aggregates in them, against a model of a few lines: events in disorder, many of them late, in batches
-- of any size, with and without memory between them.
local runtime = require "spec.support.runtime"
local testing = require "tidemill.testing"

local T = 1700000000000
local LATENESS = 3000
local ENTRY_MS = T + 86400000

local RULE = [[
local tidemill = require "tidemill"
local window = tidemill.window
return tidemill.rule {
  stream = "s", time = "t", lateness = %d, key = "key", window = window.%s,
  merge = window.merge { n = window.count, sum = window.sum, low = window.min, high = window.max, first = window.first,
    last = window.last },
  on_event = function(event, ctx)
    local w = ctx.window
    w.n = window.count.add(w.n)
    w.sum = window.sum.add(w.sum, event.v)
    w.low, w.high = window.min.add(w.low, event.v), window.max.add(w.high, event.v)
    w.first, w.last = window.first.add(w.first, event.id, ctx.now), window.last.add(w.last, event.id, ctx.now)
    if event.fails then error "on purpose" end
  end,
  on_window = function(span, ctx)
    local w = ctx.window
    ctx.emit("out", { text = ("%%s %%.0f-%%.0f: %%d %%g %%g..%%g %%s-%%s"):format(ctx.key, span.start - %.0f, span.stop - %.0f,
      window.count.value(w.n), window.sum.value(w.sum), window.min.value(w.low), window.max.value(w.high),
      window.first.value(w.first), window.last.value(w.last)) })
  end,
  on_late = function(event, ctx) ctx.emit("late", { text = event.id }) end,
}]]

-- ── the model ───────────────────────────────────────────────────────────────────────────────────────────────────────────

local function told(key, start, stop, events)
  local sum, low, high, first, last = 0, math.huge, -math.huge, events[1], events[1]
  for _, e in ipairs(events) do
    sum, low, high = sum + e.v, math.min(low, e.v), math.max(high, e.v)
    if e.t < first.t or (e.t == first.t and e.n < first.n) then first = e end
    if e.t > last.t or (e.t == last.t and e.n > last.n) then last = e end
  end
  return ("%s %.0f-%.0f: %d %g %g..%g %s-%s"):format(key, start - T, stop - T, #events, sum, low, high, first.id, last.id)
end

-- Windows that begin at multiples of `step`: each has the events that came while it was open.
local function aligned(size, step)
  return function(events, out, late)
    local windows = {}
    for _, e in ipairs(events) do
      local is_in = false
      for start = e.t - e.t % step, e.t - size + 1, -step do
        if start + size > e.watermark then
          is_in = true
          local name = e.key .. start
          windows[name] = windows[name] or { key = e.key, start = start }
          if not e.fails then table.insert(windows[name], e) end
        end
      end
      if not is_in then late[#late + 1] = e.id end
    end
    for _, w in pairs(windows) do
      if #w > 0 then out[#out + 1] = told(w.key, w.start, w.start + size, w) end
    end
  end
end

local function sessions(gap)
  return function(events, out, late)
    local open = {}
    local function close(watermark)
      for n = #open, 1, -1 do
        if open[n].stop <= watermark then
          local one = table.remove(open, n)
          out[#out + 1] = told(one.key, one.start, one.stop, one)
        end
      end
    end
    for _, e in ipairs(events) do
      close(e.watermark)
      local found = {}
      for n = #open, 1, -1 do
        local one = open[n]
        if one.key == e.key and one.start < e.t + gap and e.t < one.stop then found[#found + 1] = n end
      end
      if #found == 0 and e.t + gap <= e.watermark then
        late[#late + 1] = e.id
      elseif not e.fails then
        local own = { key = e.key, start = e.t, stop = e.t + gap, e }
        for _, n in ipairs(found) do
          local one = table.remove(open, n)
          own.start, own.stop = math.min(own.start, one.start), math.max(own.stop, one.stop)
          for _, other in ipairs(one) do own[#own + 1] = other end
        end
        open[#open + 1] = own
      end
    end
    close(math.huge)
  end
end

local function counted(most)
  return function(events, out)
    local open = {}
    for _, e in ipairs(events) do
      if not e.fails then
        open[e.key] = open[e.key] or {}
        table.insert(open[e.key], e)
        if #open[e.key] == most then
          local start, stop = math.huge, 0
          for _, one in ipairs(open[e.key]) do start, stop = math.min(start, one.t), math.max(stop, one.t) end
          out[#out + 1] = told(e.key, start, stop, open[e.key])
          open[e.key] = nil
        end
      end
    end
  end
end

-- ── the comparison ──────────────────────────────────────────────────────────────────────────────────────────────────────

local function draw_events(draw, count)
  local events, now, newest = {}, T, 0
  for n = 1, count do
    now = now + draw(500)
    if draw(40) == 1 then now = now + draw(20000) end
    local e = { n = n, id = "e" .. n, key = "k" .. draw(4), v = draw(100), fails = draw(25) == 1 or nil }
    e.t = now - (draw(3) == 1 and draw(9000) or 0)
    newest = math.max(newest, e.t)
    e.watermark = newest - LATENESS
    events[n] = e
  end
  return events
end

local function run(kind, events, options)
  options.start_ms = ENTRY_MS
  local kit = testing.load({ ["w.lua"] = RULE:format(LATENESS, kind, T, T) }, options)
  local list, out, late = {}, {}, {}
  for n, e in ipairs(events) do list[n] = { id = e.id, key = e.key, t = e.t, v = e.v, fails = e.fails } end
  kit:events("s", list)
  kit:advance "1h"
  for _, effect in ipairs(kit:effects()) do
    table.insert(effect.stream == "out" and out or late, effect.fields.text)
  end
  for _, letter in ipairs(kit:letters()) do assert.matches("on purpose", letter.message) end
  return out, late
end

-- What is in one list and not in the other: the whole lists would fill the screen.
local function compare(expected, found, hint)
  local counts, missing, extra = {}, {}, {}
  for _, text in ipairs(expected) do counts[text] = (counts[text] or 0) + 1 end
  for _, text in ipairs(found) do
    if (counts[text] or 0) == 0 then extra[#extra + 1] = text else counts[text] = counts[text] - 1 end
  end
  for _, text in ipairs(expected) do
    if counts[text] > 0 then
      missing[#missing + 1] = text
      counts[text] = counts[text] - 1
    end
  end
  table.sort(missing)
  table.sort(extra)
  assert.same({ missing = {}, extra = {} }, { missing = missing, extra = extra }, hint)
end

local KINDS = {
  { 'tumbling "10s"', aligned(10000, 10000) },
  { "tumbling(1)", aligned(1, 1) },
  { 'sliding("10s", "2s")', aligned(10000, 2000) },
  { 'sliding("4s", "4s")', aligned(4000, 4000) },
  { 'session "4s"', sessions(4000) },
  { "session(200)", sessions(200) },
  { "count(7)", counted(7) },
}

describe("windows", function()
  local seed = runtime.seed()
  for _, kind in ipairs(KINDS) do
    it("are as the model says: " .. kind[1], function()
      local draw = runtime.generator(seed)
      for _, options in ipairs { {}, { batch_events = 1 }, { batch_events = 7, cold = true }, { cold = true } } do
        local events = draw_events(draw, options.cold and 150 or 400) -- a cold batch is run again after many an event
        local out, late = {}, {}
        kind[2](events, out, late)
        local its_out, its_late = run(kind[1], events, options)
        local hint = ("seed %d, batches of %s, %s"):format(seed, options.batch_events or "all", options.cold and "cold" or "warm")
        compare(out, its_out, hint)
        compare(late, its_late, hint)
      end
    end)
  end
end)
