-- Event time: what an event's time is, and how far a rule has come, by the events of all its streams (design 3.3 and 3.5).
local engine = require "spec.support.engine"
local redis = require "spec.support.redis"
local timed = require "spec.support.timed"
local windows = require "spec.support.windows"

local HOUR = 3600000
local T = 1600000000000

describe("event time", function()
  local server, e

  before_each(function() server = redis.start() end)

  after_each(function() e = engine.clear(server, e) end)

  local function start(rule, settings)
    e = engine.start { server = server, settings = settings, rules = { ["a.lua"] = rule } }
    return e
  end

  -- Events, which are all processed then.
  local function put(stream, ...)
    local ids = timed.put(server, stream, { ... })
    e:wait_position(stream, ids[#ids])
    return ids
  end

  local function list(name) return server:call("LRANGE", name or "a", 0, -1) end

  local function wait_lines(count)
    e:wait_equal(count, function() return server:call("LLEN", "a") end, 10, "the number of windows")
    return list()
  end

  local function line(key, from_ms, to_ms, n) return ("%s %.0f %.0f n=%d sum=0"):format(key, T + from_ms, T + to_ms, n) end

  local function seen(stream) return tonumber(e:ctl("seen:a:" .. stream)) end

  local function watermark() return tonumber(e:ctl "watermark:a") end

  ---- the time of an event ----

  describe("is read from", function()
    -- What ctx.now is for each of these values of `ts`; the letters.
    local function times(head, values, settings)
      local commands = {}
      for n, fields in ipairs(values) do
        commands[n] = { "XADD", "orders", ("%.0f-%d"):format(T, n), unpack(fields) }
      end
      server:pipeline(commands)
      start(engine.rule([[ctx.redis.rpush("times", ("%s %.0f"):format(event.n, ctx.now))]], 'stream = "orders", ' .. head), settings)
      e:wait_position("orders", ("%.0f-%d"):format(T, #values))
      e:wait_done()
      return list "times", e:letters()
    end

    local function packed(t) return { "data", engine.pack(t) } end

    it("a field: ms, seconds, seconds with a fraction, their digits, ISO 8601", function()
      local is, letters = times('time = "ts"', {
        packed { n = 1, ts = T + 1 }, packed { n = 2, ts = 1600000001 }, packed { n = 3, ts = 1600000001.25 },
        packed { n = 4, ts = ("%.0f"):format(T + 5) }, packed { n = 5, ts = "1600000001" }, packed { n = 6, ts = "1600000001.5" },
        packed { n = 7, ts = "2020-09-13T12:26:40Z" }, packed { n = 8, ts = "2020-09-13T14:26:40.125+02:00" },
        packed { n = 9, ts = "2020-09-13T12:26:40" }, packed { n = 10, ts = "2020-09-13T12:26:41.5Z" },
        { "n", "11", "ts", ("%.0f"):format(T + 7) }, { "data", ('{"n":12,"ts":%.0f}'):format(T + 8) },
      })
      local expected = {}
      for n, ms in ipairs { 1, 1000, 1250, 5, 1000, 1500, 0, 125, 0, 1500, 7, 8 } do
        expected[n] = ("%d %.0f"):format(n, T + ms)
      end
      assert.same({}, letters)
      assert.same(expected, is)
    end)

    it("a function of the rule", function()
      local is, letters = times("time = function(event) return event.at.s * 1000 + event.at.ms end",
        { packed { n = 1, at = { s = 1600000000, ms = 7 } }, packed { n = 2, at = { s = 1600000000, ms = 8 } }, packed { n = 3 } })
      assert.same({ ("1 %.0f"):format(T + 7), ("2 %.0f"):format(T + 8) }, is)
      assert.equal(1, #letters)
      assert.same({ ("%.0f-3"):format(T), "a" }, { letters[1].id, letters[1].rule })
    end)

    it("the entry's ID, where the rule has no `time`", function()
      assert.same({ ("1 %.0f"):format(T) }, times('key = "n"', { packed { n = 1, ts = T + 7 } }))
    end)

    it("nothing that is no time: a letter `time` of the events that the rule wants", function()
      local is, letters = times('time = "ts", when = { type = "a" }, event = { n = "number" }', {
        packed { n = 1, type = "a" }, packed { n = 2, type = "b" }, packed { n = "no", type = "a", ts = "yesterday" },
        packed { n = 4, type = "a", ts = true }, packed { n = 5, type = "a", ts = T },
      })
      assert.same({ ("5 %.0f"):format(T) }, is)
      local found = {}
      for i, letter in ipairs(letters) do
        assert.matches("ts", letter.message)
        found[i] = { letter.reason, letter.rule, letter.id }
      end
      assert.same({ { "time", "a", T .. "-1" }, { "time", "a", T .. "-3" }, { "time", "a", T .. "-4" } }, found)
    end)

    it("nothing that is far ahead of the entry's ID: a letter `future`, and the watermark is not dragged along", function()
      local window = windows.rule("a", "tumbling(1000)", 'time = "ts", idle = "1h"')
      start(window)
      local id = put("orders", { k = "x", ts = T })[1]
      local ids = put("orders", { k = "x", ts = timed.ms_of(id) + 2 * HOUR }, { k = "x", ts = T + 500 })
      e:wait_done()
      local letters = e:letters()
      assert.equal(1, #letters)
      assert.same({ "future", "a", ids[1], "orders" }, { letters[1].reason, letters[1].rule, letters[1].id, letters[1].stream })
      assert.same({ T + 500, T + 500 }, { seen "orders", watermark() })
      put("orders", { k = "y", ts = timed.ms_of(id) + HOUR / 2 })
      assert.same({ line("x", 0, 1000, 2) }, wait_lines(1))
    end)

    it("nothing ahead of it by more than the setting `future`", function()
      local _, letters = times('time = "ts"', { packed { n = 1, ts = T + 20000 }, packed { n = 2, ts = T + 9000 } }, { future = "10s" })
      assert.same({ 1, "future" }, { #letters, letters[1].reason })
    end)
  end)

  ---- watermarks ----

  describe("comes as far as", function()
    local function rule(head, streams)
      return windows.rule("a", "tumbling(1000)", 'time = "ts", ' .. head, streams or '{ "orders", "other" }')
    end

    it("the slowest of its streams", function()
      start(rule 'lateness = 100, idle = "1h"')
      put("orders", { k = "x", ts = T + 100 }, { k = "x", ts = T + 5000 })
      put("other", { k = "y", ts = T + 200 })
      assert.same({ seen = { T + 5000, T + 200 }, watermark = T + 100, lines = {} },
        { seen = { seen "orders", seen "other" }, watermark = watermark(), lines = list() })
      put("orders", { k = "x", ts = T + 7000 }, { k = "x", ts = T + 300 })
      assert.same({}, list())
      put("other", { k = "y", ts = T + 1099 })
      assert.same({}, list())
      put("other", { k = "y", ts = T + 1100 })
      assert.same({ line("x", 0, 1000, 2), line("y", 0, 1000, 1) }, wait_lines(2))
      assert.same({ T + 7000, T + 1100, T + 1000 }, { seen "orders", seen "other", watermark() })
      put("other", { k = "y", ts = T + 90000 })
      assert.same({ line("x", 5000, 6000, 1), line("y", 1000, 2000, 2) }, { wait_lines(4)[4], list()[3] })
      assert.equal(T + 6900, watermark())
      assert.same({}, e:letters())
    end)

    it("events say that the rule does not want", function()
      start(rule('when = { want = true }, idle = "1h"', '"orders"'))
      put("orders", { k = "x", ts = T, want = true }, { k = "x", ts = T + 1500 })
      assert.same({ line("x", 0, 1000, 1) }, wait_lines(1))
      assert.equal(T + 1500, watermark())
    end)

    it("the others, once a stream has stood still for `idle`", function()
      start(rule 'idle = "500ms"')
      put("orders", { k = "x", ts = T + 100 })
      local ids = put("other", { k = "y", ts = T + 200 })
      local from_ms = timed.ms_of(ids[1])
      e:wait_true(function() -- `orders` goes on, `other` stands still, and then its time goes on with what passes
        put("orders", { k = "z", ts = T + 5000 })
        return server:call("LLEN", "a") == 2
      end)
      local now_ms = timed.now_ms(server)
      assert.same({ line("x", 0, 1000, 1), line("y", 0, 1000, 1) }, list())
      assert.is_true(now_ms >= from_ms + 800, ("%.0f ms"):format(now_ms - from_ms))
    end)

    it("the others, while a stream has never had an event, but not before `idle`", function()
      start(rule 'idle = "400ms"')
      local first = timed.ms_of(put("orders", { k = "x", ts = T + 100 })[1])
      e:wait_true(function()
        put("orders", { k = "z", ts = T + 5000 })
        return server:call("LLEN", "a") == 1
      end)
      local now_ms = timed.now_ms(server)
      assert.same({ line("x", 0, 1000, 1) }, list())
      assert.is_true(now_ms >= first + 400, ("%.0f ms"):format(now_ms - first))
    end)

    it("time goes on, on streams that all stand still", function()
      start(rule 'idle = "200ms", lateness = 100')
      put("orders", { k = "x", ts = T + 100 })
      local last = timed.ms_of(put("other", { k = "y", ts = T + 200 })[1])
      assert.same({ line("x", 0, 1000, 1), line("y", 0, 1000, 1) }, wait_lines(2))
      -- `orders` is the one behind: its time, T + 100, must have gone on by 1000.
      assert.is_true(timed.now_ms(server) >= last + 800)
    end)
  end)

  it("goes on with the entries of other streams, too: what is due by it fires in front of them", function()
    timed.put(server, "orders", { { id = "1000-0", k = "x" }, { id = "9000-0", stream = "other" } })
    e = engine.start { server = server, rules = { ["a.lua"] = windows.rule("a", "tumbling(1000)", 'idle = "2s"'),
      ["other.lua"] = engine.rule([[ctx.redis.rpush("a", "other")]], 'stream = "other"') } }
    assert.same({ "x 1000 2000 n=1 sum=0", "other" }, wait_lines(2))
  end)

  it("never goes back, also over a restart", function()
    start(windows.rule("a", "tumbling(1000)", 'time = "ts", idle = "100ms"'))
    put("orders", { k = "x", ts = T })
    wait_lines(1)
    e:wait_done()
    local before = watermark()
    assert.is_true(before >= T + 1000)
    assert.equal(T, seen "orders")
    e:stop()
    e = e:another()
    put("orders", { k = "x", ts = T + 1 })
    e:wait_true(function() return #e:letters() == 1 end)
    assert.equal("late", e:letters()[1].reason)
    assert.is_true(watermark() >= before)
    assert.same({ line("x", 0, 1000, 1) }, list())
  end)

  it("is told by `status`", function()
    start(windows.rule("a", "tumbling(1000)", 'time = "ts", idle = "1h", lateness = "2s"'))
    put("orders", { k = "x", ts = T + 7000 })
    e:wait_equal(T + 5000, function() return e:status().rules[1].watermark end)
    assert.is_true(e:status().rules[1].watermark_lag_ms > 0)
  end)

  it("is the clock that states of a rule with `time` expire by", function()
    start(engine.rule([[
      ctx.state.n = (ctx.state.n or 0) + 1
      ctx.redis.rpush("a", ctx.state.n)]], 'stream = "orders", key = "k", time = "ts", idle = "1h", state = { ttl = "10s" }'))
    put("orders", { k = "x", ts = T }, { k = "x", ts = T + 5000 })
    e:wait_done()
    local _, expiry = e:state("a", "x")
    assert.equal(T + 15000, expiry)
    put("orders", { k = "x", ts = T + 14999 }, { k = "y", ts = T + 24999 }, { k = "x", ts = T + 25000 })
    assert.same({ "1", "2", "3", "1", "1" }, wait_lines(5))
  end)
end)
