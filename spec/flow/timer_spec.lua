-- Timers: each fires once, in its place among entries and other timers, whatever the speed or outage (design 3.5).
local engine = require "spec.support.engine"
local files = require "spec.support.files"
local program = require "spec.support.program"
local redis = require "spec.support.redis"
local timed = require "spec.support.timed"

local SEED = tonumber(os.getenv "TIDEMILL_SEED") or os.time()
local HOUR = 3600000

-- Emits all that a handler of timers is given.
local TELLER = [[function(name, ctx)
  ctx.emit("fired", { name = name, key = ctx.key, now = ctx.now, n = ctx.state and ctx.state.n, payload = ctx.payload })
end]]

local function teller(head)
  return engine.rule([=[
    ctx.state.n = event.n
    for _, op in ipairs(event.ops or {}) do ctx.timer[op[1]](op[2], op[3], op[4]) end]=],
    'stream = "orders", key = "k", on_timer = ' .. TELLER .. (head or ""))
end

describe("a timer", function()
  local server, e

  before_each(function() server = redis.start() end)

  after_each(function() e = engine.clear(server, e) end)

  local function start(rules, settings)
    e = engine.start { server = server, settings = settings, rules = type(rules) == "table" and rules or { ["a.lua"] = rules } }
    return e
  end

  local function now_ms() return timed.now_ms(server) end

  -- One event that sets timers now; the ms of its ID.
  local function put(event)
    local id = timed.put(server, "orders", { event })[1]
    return timed.ms_of(id), id
  end

  local function log() return server:call("LRANGE", "log", 0, -1) end

  local function wait_log(count, deadline_s)
    e:wait_equal(count, function() return server:call("LLEN", "log") end, deadline_s or 10, "the number of lines in the log")
    return log()
  end

  local function fired(count)
    e:wait_equal(count, function() return server:call("XLEN", "fired") end, 10, "the number of timers that fired")
    return e:emitted "fired"
  end

  local function pending(rule, kind)
    return server:call("ZCARD", e:key("timers:" .. (rule or "a") .. ":" .. (kind or "wall")))
  end

  -- Nothing is left of any timer.
  local function none_left()
    e:wait_done()
    for _, rule in ipairs { "a", "b" } do
      assert.same({ 0, 0, 0 }, { pending(rule), pending(rule, "event"), server:call("EXISTS", e:key("timerdata:" .. rule)) })
    end
    assert.same({}, e:letters())
  end

  local function tidemill(...)
    local words = { ... }
    words[#words + 1], words[#words + 2], words[#words + 3], words[#words + 4] = "--group", "g", "--redis", server:url()
    local code, out, err = program.run(words)
    assert.same({ 0, "" }, { code, err }, out)
    return out
  end

  local function write(name, text) files.write_file(e.folder .. "/rules/" .. name, text) end

  local function reload()
    local code, out, err = program.run { "reload", "--control", e.control }
    assert.equal(0, code, out .. err)
  end

  describe("on a quiet stream", function()
    it("fires once, when it is due and not before, with its key, name, state, payload and time", function()
      start(teller())
      local set_ms = put { k = "x", n = 7, ops = { { "set", "remind", "300ms", { total = 12, list = { 1, "two" } } } } }
      assert.same({ { name = "remind", key = "x", now = set_ms + 300, n = 7, payload = { total = 12, list = { 1, "two" } } } }, fired(1))
      local at_ms = timed.ms_of(server:entries("fired")[1].id)
      assert.is_true(at_ms >= set_ms + 300, ("fired %.0f ms after it was set"):format(at_ms - set_ms))
      assert.is_true(at_ms < set_ms + 800, ("fired %.0f ms after it was set"):format(at_ms - set_ms))
      e:stop()
      e = e:another()
      put { k = "x", n = 8, ops = { { "set", "other", 20 } } }
      assert.equal("other", fired(2)[2].name)
      none_left()
    end)

    it("is replaced when it is set again", function()
      start(teller())
      local first_ms = put { k = "x", n = 1, ops = { { "set", "t", 2000, "first" }, { "set", "late", 3000, "early" },
        { "set", "t", 4000 } } }
      local second_ms = put { k = "x", n = 2, ops = { { "set", "t", 900 }, { "set", "late", 1100 } } }
      put { k = "y", n = 3, ops = { { "set", "t", 1 } } }
      local list = fired(3)
      assert.same({ "y", "x", "x" }, { list[1].key, list[2].key, list[3].key })
      assert.same({ second_ms + 900, second_ms + 1100 }, { list[2].now, list[3].now })
      assert.is_true(list[2].payload == nil and list[3].payload == nil)
      assert.is_true(first_ms <= second_ms)
      none_left()
    end)

    it("is gone when it was cancelled, in the same event or a later one", function()
      start(teller())
      put { k = "x", n = 1, ops = { { "set", "a", 300, "payload" }, { "set", "b", 300 }, { "set", "c", 300 },
        { "cancel", "c" }, { "cancel", "never" } } }
      put { k = "y", n = 1, ops = { { "set", "a", 310 }, { "cancel", "b" } } }
      put { k = "x", n = 2, ops = { { "cancel", "a" } } }
      local list = fired(2)
      assert.same({ { "x", "b" }, { "y", "a" } }, { { list[1].key, list[1].name }, { list[2].key, list[2].name } })
      none_left()
    end)

    it("fires at once when it is set into the past, 1 ms after the position", function()
      start(teller())
      local ms = put { k = "x", n = 1, ops = { { "set_at", "past", 12345 }, { "set", "now", 0 }, { "set_at", "next", 1 } } }
      local list = fired(3)
      for i, name in ipairs { "next", "now", "past" } do
        assert.same({ name, ms + 1 }, { list[i].name, list[i].now })
      end
      none_left()
    end)

    it("tells when it is due: nil when there is none", function()
      start(timed.rule "a")
      local at_ms = now_ms() + HOUR
      local ms = put { k = "x", ops = { { "get", "t" }, { "set_at", "t", at_ms }, { "get", "t" }, { "set", "t", "2h" }, { "get", "t" },
        { "cancel", "t" }, { "get", "t" }, { "set_at", "t", at_ms + 1 } } }
      put { k = "y", ops = { { "get", "t" } } }
      put { k = "x", ops = { { "get", "t" }, { "get", "other" } } }
      e:wait_done()
      e:stop()
      e = e:another()
      put { k = "x", ops = { { "get", "t" }, { "cancel", "t" }, { "get", "t" } } }
      e:wait_equal(9, function() return server:call("LLEN", "got") end)
      local function text(due) return ("%.0f"):format(due) end
      assert.same({ "none", text(at_ms), text(ms + 2 * HOUR), "none", "none", text(at_ms + 1), "none", text(at_ms + 1), "none" },
        server:call("LRANGE", "got", 0, -1))
      none_left()
    end)
  end)

  describe("has its place", function()
    it("after every entry before its due time, and before any at or after it", function()
      timed.put(server, "orders", {
        { id = "1000-0", k = "x", n = 1, ops = { { "set", "t", 1000 }, { "set", "u", 999 } } }, { id = "1998-5", k = "x", n = 2 },
        { id = "1999-0", k = "x", n = 3 }, { id = "1999-1", k = "x", n = 4, ops = { { "set", "v", 1 } } },
        { id = "2000-0", k = "x", n = 5, ops = { { "set", "w", 1 } } }, { id = "2000-1", k = "x", n = 6 },
        { id = "2002-0", k = "x", n = 7 },
      })
      start(timed.rule "a")
      assert.same({ "a event 1", "a event 2", "a x u at 1999", "a event 3", "a event 4", "a x t at 2000", "a x v at 2000", "a event 5",
        "a event 6", "a x w at 2001", "a event 7" }, wait_log(11))
      none_left()
    end)

    it("by due time, then rule, key and name", function()
      timed.put(server, "orders", {
        { id = "1000-0", k = "y", n = 1, ops = { { "set", "b", 7 }, { "set", "a", 7 }, { "set", "c", 6 } } },
        { id = "1000-1", k = "x", n = 2, ops = { { "set", "b", 7 }, { "set", "ab", 7 }, { "set", "c", 8 } } },
      })
      start { ["a.lua"] = timed.rule "a", ["b.lua"] = timed.rule "b" }
      local expected = { "a event 1", "b event 1", "a event 2", "b event 2", "a y c at 1006", "b y c at 1006" }
      for _, rule in ipairs { "a", "b" } do
        for _, timer in ipairs { "x ab", "x b", "y a", "y b" } do
          expected[#expected + 1] = ("%s %s at 1007"):format(rule, timer)
        end
      end
      expected[#expected + 1], expected[#expected + 2] = "a x c at 1008", "b x c at 1008"
      assert.same(expected, wait_log(#expected))
      none_left()
    end)

    it("counting from its due time where on_timer sets it", function()
      timed.put(server, "orders", { { id = "1000-0", k = "x", n = 1, ops = { { "set", "t", 100, { left = 3, delay = 50 } } } },
        { id = "1175-0", k = "x", n = 2 }, { id = "9000-0", k = "x", n = 3 } })
      start(timed.rule "a")
      assert.same({ "a event 1", "a x t at 1100", "a x t at 1150", "a event 2", "a x t at 1200", "a x t at 1250", "a event 3" },
        wait_log(7))
      none_left()
    end)

    -- Keys and names that are prefixes of each other, or have bytes that members of the sorted set are made with.
    local KEYS, NAMES = { "", "a", "a\0", "a\0b", "a\0\255", "b", "\255", ("k"):rep(200) }, { "t", "t1", "u", ("n"):rep(128) }

    local function draw_op(draw, ms)
      local name, dice = NAMES[draw(#NAMES)], draw(10)
      if dice <= 2 then
        return { "cancel", name }
      elseif dice <= 3 then
        return { "set_at", name, ms + draw(60) - 30 }
      elseif dice <= 5 then
        return { "set", name, draw(20) - 1, { left = draw(4), delay = draw(10) - 1 } }
      end
      return { "set", name, draw(40) - 1 }
    end

    local function draw_entries(draw, count)
      local entries, ms, seq = {}, 1000, 0
      for n = 1, count do
        if draw(3) > 1 then
          ms, seq = ms + draw(8), 0
        else
          seq = seq + 1
        end
        local ops = {}
        for i = 1, draw(4) - 1 do
          ops[i] = draw_op(draw, ms)
        end
        entries[n] = { id = ("%d-%d"):format(ms, seq), ms = ms, k = KEYS[draw(#KEYS)], n = n, ops = ops }
      end
      return entries
    end

    for _, batch_events in ipairs { 1, 7, false } do
      it(batch_events and ("whatever it is, %d to a batch"):format(batch_events) or "whatever it is, in one batch", function()
        math.randomseed(SEED)
        local entries = draw_entries(math.random, 500)
        timed.put(server, "orders", entries)
        start({ ["a.lua"] = timed.rule "a", ["b.lua"] = timed.rule "b" }, { batch_events = batch_events or nil })
        local expected = timed.expected(entries, { "a", "b" })
        local is = wait_log(#expected, 20)
        for i, line in ipairs(expected) do
          assert.equal(line, is[i], ("TIDEMILL_SEED=%d, line %d"):format(SEED, i))
        end
        none_left()
      end)
    end

    it("not before Redis' clock has come to its due time, though an entry's ID has", function()
      start(timed.rule "a")
      local set_ms = put { k = "x", n = 1, ops = { { "set", "t", 400, { left = 1, delay = 50 } } } }
      local ahead = ("%.0f-0"):format(set_ms + HOUR / 2)
      timed.put(server, "orders", { { id = ahead, k = "x", n = 2, ops = { { "set", "far", 1000 } } } })
      e:wait_position("orders", ahead)
      local lines = log()
      assert.is_true(#lines == 2 or now_ms() >= set_ms + 400, table.concat(lines, ", "))
      lines = wait_log(4)
      assert.is_true(now_ms() >= set_ms + 450)
      assert.same({ "a event 1", "a event 2", ("a x t at %.0f"):format(set_ms + 400), ("a x t at %.0f"):format(set_ms + 450) }, lines)
      assert.equal("x\0far", server:call("ZRANGE", e:key "timers:a:wall", 0, -1)[1])
      assert.equal(1, pending())
    end)
  end)

  describe("that is overdue after an outage", function()
    it("fires once, in order, in bounded commits", function()
      start({ ["a.lua"] = engine.rule([[ctx.timer.set_at("t", event.at, event.n)]], [[stream = "orders", key = "k",
        on_timer = function(name, ctx) ctx.redis.rpush("log", ("%s %.0f %.0f"):format(ctx.key, ctx.now, ctx.payload)) end]]) })
      local from_ms, commands, due = now_ms() + 1500, {}, {}
      for n = 1, 5000 do
        local at, k = from_ms + n * 7919 % 50, ("k%04d"):format(n * 31 % 5000)
        commands[n] = { "XADD", "orders", "1-" .. n, "data", engine.pack { k = k, n = n, at = at } }
        due[n] = { at = at, k = k, n = n }
      end
      server:pipeline(commands)
      e:wait_position("orders", "1-5000")
      e:stop()
      assert.equal(5000, pending())
      assert.equal(0, server:call("LLEN", "log"))
      timed.wait_ms(server, from_ms + 50)
      local commits = tonumber(e:ctl "commits")
      e = e:another()
      local is = wait_log(5000, 20)
      table.sort(due, function(a, b)
        if a.at ~= b.at then return a.at < b.at end
        return a.k < b.k
      end)
      for i, timer in ipairs(due) do
        assert.equal(("%s %.0f %d"):format(timer.k, timer.at, timer.n), is[i])
      end
      none_left()
      local took = tonumber(e:ctl "commits") - commits
      assert.is_true(took >= 5 and took < 50, took .. " commits")
    end)
  end)

  describe("of a rule with an event clock", function()
    local EVENT = 'clock = "event", time = "ts", lateness = 10, idle = "150ms"'

    it("follows the watermark, and fires before the event that moves it there", function()
      local base = 1600000000000
      timed.put(server, "orders", {
        { id = base .. "-1", k = "x", n = 1, ts = base, ops = { { "set", "t", 100 }, { "set", "u", 50 } } },
        { id = base .. "-2", k = "x", n = 2, ts = base + 59 }, { id = base .. "-3", k = "y", n = 3, ts = base + 60 },
        { id = base .. "-4", k = "y", n = 4, ts = base + 109, ops = { { "set_at", "past", base + 50 } } },
        { id = base .. "-5", k = "x", n = 5, ts = base + 110 },
      })
      start(timed.rule("a", EVENT))
      assert.same({ "a event 1", "a event 2", "a x u at 1600000000050", "a event 3", "a event 4", "a x t at 1600000000100",
        "a y past at 1600000000100", "a event 5" }, wait_log(8))
      none_left()
    end)

    it("fires on a quiet stream, as the watermark moves on after `idle`", function()
      start(timed.rule("a", EVENT))
      local began = now_ms()
      put { k = "x", n = 1, ts = 1600000000, ops = { { "set", "t", 300, { left = 1, delay = 100 } } } }
      assert.same({ "a event 1", "a x t at 1600000000300", "a x t at 1600000000400" }, wait_log(3))
      assert.is_true(now_ms() >= began + 410, ("%.0f ms"):format(now_ms() - began))
      none_left()
    end)
  end)

  describe("that fails", function()
    local FAILING = [[stream = "orders", key = "k", on_timer = function(name, ctx)
      ctx.emit("half", { name = name })
      ctx.state.n = -1
      if name == "bad" and not ctx.redis.get("mended") then error("cannot " .. name) end
      ctx.redis.rpush("log", ("%s %s %.0f"):format(name, ctx.payload and ctx.payload.total or "-", ctx.now))
    end]]
    local SET = [[ctx.state.n = event.n ctx.timer.set("bad", 20, { total = 5 }) ctx.timer.set("good", 30)]]

    it("is a letter with all that it was, and is consumed", function()
      start(engine.rule(SET, FAILING))
      local ms = put { k = "x", n = 1 }
      assert.same({ ("good - %.0f"):format(ms + 30) }, wait_log(1))
      e:wait_done()
      local letters = e:letters()
      assert.equal(1, #letters)
      local letter = letters[1]
      assert.same({ "", ("%.0f"):format(ms + 20), "a", "error", "bad", "x", "1" }, { letter.event, letter.id, letter.rule, letter.reason,
        letter.timer, letter.key, letter.attempts })
      assert.same({ total = 5 }, engine.unpack(letter.payload))
      assert.matches("cannot bad", letter.message)
      assert.matches("a%.lua:%d+", letter.traceback)
      assert.is_nil(letter.window)
      assert.same({ { name = "good" } }, e:emitted "half")
      assert.equal(0, pending())
      assert.equal(0, server:call("EXISTS", e:key "timerdata:a"))
      e:stop()
      e = e:another()
      put { k = "y", n = 2 }
      wait_log(2)
      e:wait_done()
      assert.equal(2, #e:letters())
    end)

    it("is no letter with on_error = skip", function()
      start(engine.rule(SET, FAILING .. ', on_error = "skip"'))
      put { k = "x", n = 1 }
      wait_log(1)
      e:wait_done()
      assert.same({}, e:letters())
      assert.same({ { name = "good" } }, e:emitted "half")
      assert.equal(0, pending())
    end)

    it("stops with on_error = stop: it stays, and a reload tries again", function()
      start { ["a.lua"] = engine.rule(SET, FAILING .. ', on_error = "stop"') }
      local ms, id = put { k = "x", n = 1 }
      assert.matches("cannot bad", e:wait_logged("rule_stopped").cause)
      timed.wait_ms(server, ms + 40)
      local next_id = server:call("XADD", "orders", "*", "data", engine.pack { k = "y", n = 2 })
      assert.matches("cannot bad", e:status().partitions[1].stopped_by)
      assert.same({ {}, {}, id }, { log(), e:letters(), e:position "orders" })
      assert.equal(2, pending())
      server:call("SET", "mended", 1)
      write("a.lua", engine.rule(SET, FAILING .. ', on_error = "stop" --[[mended]]'))
      reload()
      assert.same({ ("bad 5 %.0f"):format(ms + 20), ("good - %.0f"):format(ms + 30) }, { unpack(wait_log(4), 1, 2) })
      e:wait_position("orders", next_id)
      none_left()
    end)

    it("is run again by `dlq retry`, with all that it was", function()
      start(engine.rule(SET, FAILING))
      local ms = put { k = "x", n = 1 }
      wait_log(1)
      e:wait_true(function() return #e:letters() == 1 end)
      assert.matches("^1 letter handed back", tidemill("dlq", "retry", "--all"))
      e:wait_true(function() return #e:letters() == 1 and e:letters()[1].attempts == "2" end, 5, "a letter of the second attempt")
      local letter = e:letters()[1]
      assert.same({ "bad", "x", ("%.0f"):format(ms + 20) }, { letter.timer, letter.key, letter.id })
      assert.same({ total = 5 }, engine.unpack(letter.payload))
      server:call("SET", "mended", 1)
      tidemill("dlq", "retry", "--all")
      assert.equal(("bad 5 %.0f"):format(ms + 20), wait_log(2)[2])
      e:wait_equal(0, function() return server:call("XLEN", e:key "inbox") end, 5, "the letters in the inbox")
      none_left()
    end)
  end)

  describe("of a rule", function()
    local WITNESS = engine.rule [[ctx.redis.rpush("witness", event.n or 0)]]

    it("that is gone waits untouched until it is back", function()
      start { ["a.lua"] = timed.rule "a", ["witness.lua"] = WITNESS }
      local ms = put { k = "x", n = 1, ops = { { "set", "t", 900, { left = 0 } } } }
      wait_log(1)
      os.remove(e.folder .. "/rules/a.lua")
      reload()
      timed.wait_ms(server, ms + 950)
      local _, id = put { k = "x", n = 2 }
      e:wait_position("orders", id)
      assert.same({ 1, 1, 1 }, { pending(), server:call("HLEN", e:key "timerdata:a"), server:call("LLEN", "log") })
      write("a.lua", timed.rule "a")
      reload()
      assert.same({ "a event 1", ("a x t at %.0f"):format(ms + 900) }, wait_log(2))
      none_left()
    end)

    it("that has lost its on_timer waits untouched, too", function()
      start { ["a.lua"] = timed.rule "a" }
      local ms = put { k = "x", n = 1, ops = { { "set", "t", 900 } } }
      wait_log(1)
      write("a.lua", engine.rule([[ctx.redis.rpush("witness", event.n)]], 'stream = "orders", key = "k"'))
      reload()
      timed.wait_ms(server, ms + 950)
      put { k = "x", n = 2 }
      e:wait_equal(1, function() return server:call("LLEN", "witness") end)
      assert.equal(1, pending())
      write("a.lua", timed.rule "a")
      reload()
      assert.same({ "a event 1", ("a x t at %.0f"):format(ms + 900) }, wait_log(2))
      none_left()
    end)

    it("that is edited fires with the new code", function()
      start { ["a.lua"] = teller() }
      local ms = put { k = "x", n = 1, ops = { { "set", "t", 2000, "kept" } } }
      e:wait_equal(1, pending)
      write("a.lua", (teller():gsub('emit%("fired", {', '%0 v = 2,')))
      reload()
      assert.same({ { v = 2, name = "t", key = "x", now = ms + 2000, n = 1, payload = "kept" } }, fired(1))
      none_left()
    end)

    it("may be dropped from the shell while it runs", function()
      start { ["a.lua"] = timed.rule "a", ["b.lua"] = timed.rule "b" }
      put { k = "x", n = 1, ops = { { "set", "t", 1200, { left = 0 } }, { "set", "u", 1200 } } }
      local ms = put { k = "y", n = 2, ops = { { "set", "t", 1210 } } }
      wait_log(4)
      e:wait_equal(3, function() return pending "b" end)
      assert.equal("2 timers dropped\n", tidemill("timers", "drop", "--rule", "a", "--key", "x"))
      assert.same({ 1, 3, 0 }, { pending(), pending "b", server:call("EXISTS", e:key "timerdata:a") })
      assert.equal("3 timers dropped\n", tidemill("timers", "drop", "--rule", "b"))
      assert.equal(0, pending "b")
      timed.wait_ms(server, ms + 1250)
      put { k = "z", n = 3 }
      assert.same({ ("a y t at %.0f"):format(ms + 1210), "a event 3", "b event 3" }, { unpack(wait_log(7), 5, 7) })
      none_left()
    end)

    it("that has no on_timer cannot be set", function()
      start(engine.rule([[ctx.timer.set("t", 5)]], 'stream = "orders", key = "k"'))
      put { k = "x", n = 1 }
      e:wait_true(function() return #e:letters() == 1 end)
      assert.matches("on_timer", e:letters()[1].message)
      assert.equal(0, pending())
    end)
  end)

  it("among 20,000 that are pending costs nothing until it is due: they are not read", function()
    start(timed.rule "a")
    engine.flood(server, "orders", 20000, function(n)
      return { k = "k" .. n, ops = { { "set", "t", 0, ("p"):rep(100) }, { "set_at", "far", 4e12 + n, ("p"):rep(100) }, { "cancel", "t" } } }
    end)
    e:wait_position("orders", "1-20000", 30)
    e:wait_equal(20000, pending)
    e:stop()
    server:call("CONFIG", "RESETSTAT")
    e = e:another()
    local ms = put { k = "k777", n = 1, ops = { { "get", "far" }, { "set", "far", 100 }, { "set", "near", 50 }, { "get", "far" } } }
    put { k = "k15000", n = 3, ops = { { "get", "far" }, { "set", "near", 60 }, { "get", "near" } } } -- of those that only Redis knows
    put { k = "k20000", n = 2, ops = { { "cancel", "far" } } }
    e:wait_equal(20006, function() return server:call("LLEN", "log") end)
    local sent_bytes = tonumber(server:call("INFO", "stats"):match "total_net_output_bytes:(%d+)")
    assert.is_true(sent_bytes < 400000, sent_bytes .. " bytes sent by Redis") -- all payloads alone: two million
    local lines = log()
    assert.equal(("a k777 far at %.0f"):format(ms + 100), lines[#lines])
    assert.equal(19998, pending())
    local got = server:call("LRANGE", "got", 0, -1)
    assert.same({ ("%.0f"):format(4e12 + 777), ("%.0f"):format(ms + 100), ("%.0f"):format(4e12 + 15000) }, { unpack(got, 1, 3) })
    assert.equal(4, #got)
  end)

  describe("in which the worker dies", function()
    -- Counts firings; the `bad` one waits to be killed, as often as there is something in `deaths`.
    local DYING = [[stream = "orders", key = "k", on_timer = function(name, ctx)
      ctx.redis.rpush("log", ("%s %.0f"):format(name, ctx.now))
      ctx.state.fired = (ctx.state.fired or 0) + 1
      if name == "bad" and ctx.redis.get("deadly") then
        ctx.log.warn("dying")
        while true do end
      end
    end]]
    local SETTINGS = { lease_ms = 120000, limits = { rule_ms = 30000, hard_ms = 30000 } }

    local function start_dying()
      server:call("SET", "deadly", 1)
      start({ ["a.lua"] = engine.rule([[
        ctx.timer.set("bad", 20, { total = 5 })
        ctx.timer.set("good", 20)
        ctx.timer.set("later", 30)]], DYING) }, SETTINGS)
      return put { k = "x", n = 1 }
    end

    it("by itself is a letter `crash`, and the others fire once", function()
      local ms = start_dying()
      e:wait_logged "rule_warn_a"
      e:kill_worker(1, "4") -- SIGILL: AddressSanitizer would catch SEGV
      assert.same({ ("good %.0f"):format(ms + 20), ("later %.0f"):format(ms + 30) }, wait_log(2))
      e:wait_done()
      local found = {}
      for _, letter in ipairs(e:letters()) do
        if letter.reason ~= "unverified" then
          found[#found + 1] = { letter.reason, letter.timer, letter.key, letter.id, letter.event, engine.unpack(letter.payload) }
        end
      end
      assert.same({ { "crash", "bad", "x", ("%.0f"):format(ms + 20), "", { total = 5 } } }, found)
      assert.same({ fired = 2 }, (e:state("a", "x")))
      assert.equal(0, pending())
    end)

    it("for another reason is forgotten: it fires once", function()
      local ms = start_dying()
      e:wait_logged "rule_warn_a"
      server:call("DEL", "deadly")
      e:kill_worker()
      assert.same({ ("bad %.0f"):format(ms + 20), ("good %.0f"):format(ms + 20), ("later %.0f"):format(ms + 30) }, wait_log(3))
      e:wait_done()
      assert.same({ fired = 3 }, (e:state("a", "x")))
      none_left()
    end)
  end)
end)
