local runtime = require "spec.support.runtime"
local pack = require "tidemill.pack"
local rulebook = require "tidemill.rulebook"
local testing_host = require "tidemill.testing_host"
local tidemill = require "tidemill"
local window = require "tidemill.window"

local host = testing_host.create {
  limits = { effects = 1, effect_bytes = 1, event_bytes = 1e6, event_depth = 32, event_elements = 65536, state_bytes = 1e6, rule_ms = 1 },
  rules = {}, is_input = function() return false end,
}

-- What is kept, as it comes back from Redis.
local function stored(kept)
  return kept ~= nil and host:decode(pack.string { kept })[1] or nil
end

local function raises(message, f, ...)
  local ok, err = pcall(f, ...)
  assert.is_false(ok)
  assert.equal(message, err)
end

-- Raises at the line that called, which is this file's.
local function raises_here(pattern, f)
  local ok, err = pcall(f)
  assert.is_false(ok)
  assert.matches("^spec/unit/window_spec.lua:%d+: ", err)
  assert.matches(pattern, err)
end

describe("tidemill.window", function()
  it("is a module of its own, and a part of tidemill", function()
    assert.equal(window, tidemill.window)
  end)

  it("gives windows as plain tables", function()
    assert.same({ kind = "tumbling", size = 10000 }, window.tumbling "10s")
    assert.same({ kind = "tumbling", size = 1 }, window.tumbling(1))
    assert.same({ kind = "sliding", size = 600000, step = 10000 }, window.sliding("10m", "10s"))
    assert.same({ kind = "sliding", size = 5, step = 5 }, window.sliding(5, 5))
    assert.same({ kind = "session", gap = 1800000 }, window.session "30m")
    assert.same({ kind = "count", count = 100 }, window.count(100))
  end)

  it("says what is wrong with a window, and where", function()
    raises_here("window.tumbling%(size%): '10 s' is no duration: write milliseconds or ", function() window.tumbling "10 s" end)
    raises_here("window.tumbling%(size%): a nil is no duration", function() window.tumbling() end)
    raises_here("window.session%(gap%): it must be 1 ms or more", function() window.session(0) end)
    raises_here("window.sliding%(size, step%): step: a nil is no duration", function() window.sliding "1m" end)
    raises_here("window.sliding%(size, step%): the step %(600000 ms%) is longer than the size %(10000 ms%)", function()
      window.sliding("10s", "10m")
    end)
    raises_here("must be a multiple of the step %(7000 ms%).* sizes that fit are 56000 and 63000", function()
      window.sliding("1m", "7s")
    end)
    for _, bad in ipairs { 0, -1, 1.5, "100", 0 / 0, math.huge, 2 ^ 31 } do
      raises_here("window.count%(events%): expects a whole number from 1 on, after how many events", function() window.count(bad) end)
    end
    raises_here("window.count%(events%): expects a whole number", function() window.count() end)
  end)

  it("is handed to each rule as a copy of its own", function()
    local lines = {}
    local function load_rule(text)
      local options = { limits = {}, print = function(_, line) lines[#lines + 1] = line end }
      return rulebook.load({ { name = "one.lua", text = text } }, options).problems
    end
    assert.same({}, load_rule [[
      local tidemill = require "tidemill"
      local window = require "tidemill.window"
      print(window.count(7).count, window.count.add(nil), tidemill.window.count(8).count, tostring(getmetatable(window.count)))
      window.sum.add = nil
      tidemill.window.count.value = nil
      tidemill.window.tumbling = nil
      print(pcall(setmetatable, window.count, {}))
      return tidemill.rule { stream = "a", on_event = function() end }]])
    assert.equal("7 1 8 window.count", lines[1])
    assert.matches("^false .*protected metatable", lines[2])
    assert.is_function(window.sum.add)
    assert.is_function(window.count.value)
    assert.is_function(window.tumbling)
  end)
end)

describe("aggregates of windows", function()
  local VALUES = { 5, -2, 8.5, 8.5, 0.25 }
  local EXPECTED = { count = 5, sum = 20.25, min = -2, max = 8.5, mean = 4.05, first = 5, last = 0.25 }
  local EMPTY = { count = 0, sum = 0 }

  it("start with nothing", function()
    for name in pairs(EXPECTED) do
      assert.equal(EMPTY[name], window[name].value(nil), name)
      assert.equal(EMPTY[name], window[name].value(window[name].merge(nil, nil)), name)
    end
  end)

  it("give the same however the values are split over panes, and come back from Redis as they were", function()
    for name, expected in pairs(EXPECTED) do
      local aggregate = window[name]
      for cut = 0, #VALUES do
        local a, b
        for n, v in ipairs(VALUES) do
          if n <= cut then a = stored(aggregate.add(a, v, n)) else b = stored(aggregate.add(b, v, n)) end
        end
        assert.equal(expected, aggregate.value(stored(aggregate.merge(a, b))), name .. " cut at " .. cut)
      end
    end
  end)

  it("change neither of the two that they merge", function()
    for name in pairs(EXPECTED) do
      local aggregate = window[name]
      local a, b = aggregate.add(nil, 1, 1), aggregate.add(nil, 2, 2)
      local both = aggregate.merge(a, b)
      assert.same(aggregate.add(nil, 1, 1), a, name)
      assert.same(aggregate.add(nil, 2, 2), b, name)
      if type(both) == "table" and (name == "sum" or name == "mean") then -- what may be added to
        assert.is_true(both ~= a and both ~= b)
      end
    end
  end)

  it("know the first and the last by time, not by when they came", function()
    local first, last
    for _, one in ipairs { { 30, "c" }, { 10, "a" }, { 40, "d" }, { 20, "b" }, { 10, "A" }, { 40, "D" } } do
      first, last = window.first.add(first, one[2], one[1]), window.last.add(last, one[2], one[1])
    end
    assert.same({ "a", "D" }, { window.first.value(first), window.last.value(last) })
    local late = window.first.add(nil, "x", 5)
    assert.equal("x", window.first.value(window.first.merge(first, late)))
    assert.equal("D", window.last.value(window.last.merge(window.last.add(nil, "x", 5), last)))
    assert.equal("D", window.last.value(window.last.merge(last, window.last.add(nil, "x", 5))))
    assert.equal("a", window.first.value(window.first.merge(first, window.first.add(nil, "z", 10)))) -- of equals the earlier pane's
    assert.equal("z", window.last.value(window.last.merge(last, window.last.add(nil, "z", 40))))
    assert.is_false(window.last.value(window.last.add(nil, false, 1)))
    assert.is_nil(window.last.add(nil, nil, 1)) -- no value is none
    assert.same({ 1, { "a" } }, window.last.add(nil, { "a" }, 1))
  end)

  it("lose no cents to rounding", function()
    local sum, mean
    for _ = 1, 100000 do sum, mean = window.sum.add(sum, 0.1), window.mean.add(mean, 0.1) end
    assert.equal(10000, window.sum.value(sum))
    assert.equal(0.1, window.mean.value(mean))
    local a, b = nil, nil
    for _, v in ipairs { 1, 1e100 } do a = window.sum.add(a, v) end
    for _, v in ipairs { 1, -1e100 } do b = window.sum.add(b, v) end
    assert.equal(2, window.sum.value(window.sum.merge(a, b))) -- adding up gives 0
    assert.equal(2, window.sum.value(window.sum.merge(b, a)))
  end)

  it("give the same sum in any order", function()
    local seed = runtime.seed()
    local draw = runtime.generator(seed)
    local values = {}
    for n = 1, 2000 do values[n] = draw(1000000) / 100 end
    local function total()
      local panes = {}
      for n, v in ipairs(values) do panes[n % 7 + 1] = window.sum.add(panes[n % 7 + 1], v) end
      local sum
      for p = 1, 7 do sum = window.sum.merge(sum, panes[p]) end
      return window.sum.value(sum)
    end
    local once = total()
    for n = #values, 2, -1 do
      local m = draw(n)
      values[n], values[m] = values[m], values[n]
    end
    assert.equal(once, total(), "seed " .. seed)
  end)

  it("go on where there is an infinity", function()
    local sum = window.sum.add(window.sum.add(nil, math.huge), 5)
    assert.equal(math.huge, window.sum.value(sum))
    assert.equal(math.huge, window.mean.value(window.mean.add(window.mean.add(nil, math.huge), 5)))
  end)

  it("take the text of a number for one, and nothing else", function()
    assert.equal(3.5, window.sum.value(window.sum.add(window.sum.add(nil, "1.5"), 2)))
    assert.equal(9, window.max.value(window.max.add(window.max.add(nil, 9), "10e-1")))
    for _, name in ipairs { "sum", "mean", "min", "max" } do
      raises_here("window." .. name .. ".add%(kept, value%): expects a number, got a nil", function() window[name].add(nil, nil) end)
      raises_here("expects a number, got a string", function() window[name].add(nil, "much") end)
      raises_here("expects a number, got nan", function() window[name].add(nil, 0 / 0) end)
      raises_here("expects a number, got a table", function() window[name].add(nil, {}) end)
    end
    raises_here("window.last.add%(kept, value, at%): `at` must be the value's time, as ctx.now", function() window.last.add(nil, 1) end)
    raises_here("window.first.add%(kept, value, at%): `at` must be", function() window.first.add(nil, 1, "now") end)
  end)

  it("are put together by field", function()
    local longest = function(a, b) return (b == nil or (a ~= nil and #a > #b)) and a or b end
    local merge = window.merge { n = window.count, total = window.sum, seen = window.last, name = longest }
    local a = { n = 2, total = window.sum.add(nil, 10), seen = { 7, "x" } }
    local b = { n = 3, total = window.sum.add(nil, 5), name = "long" }
    assert.same({ n = 5, total = { 15, 0 }, seen = { 7, "x" }, name = "long" }, merge(a, b))
    assert.same({ n = 5, total = { 15, 0 }, seen = { 7, "x" }, name = "long" }, merge(b, a))
    assert.same({ n = 2, total = { 10, 0 }, seen = { 7, "x" } }, a)
    assert.same({ n = 0 }, merge({}, {}))
    raises("window.merge: the window has a field 'extra', and nothing says how two of it become one: name it, too",
      merge, a, { extra = 1 })
    raises_here("window.merge: expects a table such as { n = window.count }", function() window.merge() end)
    raises_here("window.merge: the field 'n' must be an aggregate such as window.sum, or a function%(a, b%)", function()
      window.merge { n = "count" }
    end)
    raises_here("window.merge: the field '1' must be", function() window.merge { window.count } end)
  end)
end)

describe("window.ring", function()
  local velocity = window.ring("1m", 5)
  local T = 1700000040000 -- begin of a minute

  it("counts and sums the last buckets", function()
    assert.same({ 0, 0 }, { velocity.count(nil, T), velocity.sum(nil, T) })
    local t
    for minute = 0, 9 do
      t = stored(velocity.add(t, T + minute * 60000, minute))
      assert.equal(math.min(minute + 1, 5), velocity.count(t, T + minute * 60000))
    end
    assert.equal(5 + 6 + 7 + 8 + 9, velocity.sum(t, T + 9 * 60000 + 59999))
    assert.equal(6 + 7 + 8 + 9, velocity.sum(t, T + 10 * 60000))
    assert.equal(1, velocity.count(t, T + 13 * 60000))
    assert.equal(0, velocity.count(t, T + 14 * 60000))
    assert.equal(0, velocity.sum(t, T + 1e12))
  end)

  it("counts late events in their bucket, and leaves out those older than the ring", function()
    local t = velocity.add(nil, T + 4 * 60000, 10)
    t = velocity.add(t, T, 1)
    t = velocity.add(t, T + 59999, 2)
    assert.same({ 3, 13 }, { velocity.count(t, T + 4 * 60000), velocity.sum(t, T + 4 * 60000) })
    local before = stored(t)
    assert.equal(t, velocity.add(t, T - 1, 100))
    assert.same(before, t)
    assert.equal(2, velocity.count(t, T)) -- as of then: later events do not count
    assert.same({ 1, 10 }, { velocity.count(t, T + 5 * 60000), velocity.sum(t, T + 5 * 60000) })
  end)

  it("is small: numbers in one array, and sums only when there are amounts", function()
    local t = velocity.add(nil, T)
    table.sort(t)
    assert.same({ 0, 0, 0, 0, 1, 5, 60000, T / 60000 }, t)
    t = velocity.add(nil, T)
    assert.equal(0, velocity.sum(t, T))
    t = velocity.add(t, T, 2.5)
    assert.equal(13, #t)
    assert.same({ 2, 2.5 }, { velocity.count(t, T), velocity.sum(t, T) })
    local hour = window.ring("1m", 60)
    local kept
    for n = 0, 719 do kept = hour.add(kept, T + n * 5000) end
    assert.equal(720, hour.count(kept, T + 719 * 5000))
    assert.is_true(#pack.string(kept) < 80)
  end)

  it("agrees with a list of all events, in any order", function()
    local seed = runtime.seed()
    local draw = runtime.generator(seed)
    local ring = window.ring(1000, 8)
    local now, t, all, newest = T, nil, {}, 0
    for _ = 1, 3000 do
      now = now + draw(900) - 100
      if draw(200) == 1 then now = now + draw(20000) end
      local at = now - (draw(4) == 1 and draw(12000) or 0)
      local amount = draw(100)
      if draw(3) == 1 then amount = nil end
      if math.floor(at / 1000) > newest - 8 then all[#all + 1] = { math.floor(at / 1000), amount or 0 } end
      newest = math.max(newest, math.floor(at / 1000))
      t = ring.add(t, at, amount)
      local b, count, sum = math.floor(now / 1000), 0, 0
      for _, one in ipairs(all) do
        if one[1] > math.max(b, newest) - 8 and one[1] <= b then count, sum = count + 1, sum + one[2] end
      end
      assert.same({ count, sum }, { ring.count(t, now), ring.sum(t, now) }, "seed " .. seed)
    end
  end)

  it("pours what another version of the rule has left into its own buckets", function()
    local t
    for minute = 0, 4 do t = velocity.add(t, T + minute * 60000, 10) end
    local wide, short, fine = window.ring("5m", 3), window.ring("1m", 2), window.ring("10s", 30)
    local now = T + 4 * 60000
    assert.same({ 5, 50 }, { wide.count(t, now), wide.sum(t, now) })
    assert.same({ 2, 20 }, { short.count(t, now), short.sum(t, now) })
    assert.same({ 5, 50 }, { fine.count(t, now), fine.sum(t, now) })
    assert.equal(6, fine.count(fine.add(t, now), now))
    assert.same({ 1000, 3, math.floor((T + 240000) / 1000) }, { unpack(window.ring(1000, 3).add(t, now), 1, 3) })
    assert.same({ 5, 50 }, { velocity.count(t, now), velocity.sum(t, now) }) -- the one that was left stays as it was
  end)

  it("works near the epoch", function()
    local t = velocity.add(nil, 0)
    t = velocity.add(t, 60000)
    assert.equal(2, velocity.count(t, 60000))
  end)

  it("says what is wrong with a call", function()
    raises_here("window.ring%(width, buckets%): width: '1 m' is no duration", function() window.ring("1 m", 60) end)
    raises_here("window.ring%(width, buckets%): expects a whole number from 1 on, how many buckets are kept", function()
      window.ring "1m"
    end)
    raises_here("ring.add%(kept, now%): `now` must be a time, as ctx.now", function() velocity.add(nil) end)
    raises_here("ring.count%(kept, now%): `now` must be a time", function() velocity.count(nil, 0 / 0) end)
    raises_here("ring.sum%(kept, now%): `kept` must be what ring.add returned, or nil; this number is not", function()
      velocity.sum(5, T)
    end)
    raises_here("this table is not", function() velocity.add({}, T) end)
    raises_here("this table is not", function() velocity.add({ 60000, 5, 3, 0 }, T) end)
    raises_here("ring.add%(kept, now, amount%): the amount must be a number, got a table", function() velocity.add(nil, T, {}) end)
    raises_here("the amount must be a number, got nan", function() velocity.add(nil, T, 0 / 0) end)
    assert.equal(2.5, velocity.sum(velocity.add(nil, T, "2.5"), T))
  end)
end)
