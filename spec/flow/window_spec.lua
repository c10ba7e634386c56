-- Windows: each closes once, with all that belongs into it, before the event that closes it; what comes too late is told (design 3.3).
local engine = require "spec.support.engine"
local files = require "spec.support.files"
local program = require "spec.support.program"
local redis = require "spec.support.redis"
local timed = require "spec.support.timed"
local windows = require "spec.support.windows"

local SEED = tonumber(os.getenv "TIDEMILL_SEED") or os.time()
local T = 1600000000000 -- a multiple of what windows here are long

describe("a window", function()
  local server, e

  before_each(function() server = redis.start() end)

  after_each(function() e = engine.clear(server, e) end)

  local function start(rules, settings)
    e = engine.start { server = server, settings = settings, rules = type(rules) == "table" and rules or { ["a.lua"] = rules } }
    return e
  end

  -- Events { seconds behind T, key, amount }, with IDs of one old ms, so that the stream only stands still when they are all done.
  local function put(events)
    local list = {}
    for n, event in ipairs(events) do
      list[n] = { id = ("%.0f-%d"):format(T, n), ts = T + event[1] * 1000, k = event[2], amount = event[3] or 1 }
    end
    return timed.put(server, "orders", list)
  end

  local function list(name) return server:call("LRANGE", name or "a", 0, -1) end

  -- A line as windows.rule writes it, of seconds behind T.
  local function line(key, from_s, to_s, n, sum)
    return ("%s %.0f %.0f n=%d sum=%d"):format(key, T + from_s * 1000, T + to_s * 1000, n, sum or n)
  end

  local function wait_lines(count, name)
    e:wait_equal(count, function() return server:call("LLEN", name or "a") end, 10, "the number of windows")
    return list(name)
  end

  -- Everything has closed, and nothing of it is left.
  local function none_left(name)
    e:wait_done()
    e:wait_equal(0, function() return server:call("EXISTS", e:key("windows:" .. (name or "a"))) end, 5, "windows that are left")
    assert.equal(0, server:call("EXISTS", e:key("timers:" .. (name or "a") .. ":window")))
  end

  it("that tumbles has what its time says, for each key", function()
    put { { 1, "x", 5 }, { 9.999, "x", 2 }, { 3, "y" }, { 10, "x", 7 }, { 21, "y" } }
    start(windows.rule("a", 'tumbling("10s")', 'time = "ts"'))
    assert.same({ line("x", 0, 10, 2, 7), line("y", 0, 10, 1), line("x", 10, 20, 1, 7), line("y", 20, 30, 1) }, wait_lines(4))
    none_left()
    assert.same({}, e:letters())
  end)

  it("that slides has every event in all that it belongs into", function()
    put { { 1, "x" }, { 12, "x", 5 }, { 14, "y" }, { 29, "x", 3 } }
    start(windows.rule("a", 'sliding("20s", "10s")', 'time = "ts"'))
    assert.same({ line("x", -10, 10, 1), line("x", 0, 20, 2, 6), line("y", 0, 20, 1), line("x", 10, 30, 2, 8), line("y", 10, 30, 1),
      line("x", 20, 40, 1, 3) }, wait_lines(6))
    none_left()
  end)

  it("that is a session lasts until nothing comes for as long as its gap", function()
    put { { 1, "x" }, { 10, "x", 5 }, { 15, "y" }, { 19.999, "x" }, { 30, "x", 2 } }
    start(windows.rule("a", 'session("10s")', 'time = "ts"'))
    assert.same({ line("y", 15, 25, 1), line("x", 1, 29.999, 3, 7), line("x", 30, 40, 1, 2) }, wait_lines(3))
    none_left()
  end)

  it("that is a session joins two of them by an event between", function()
    put { { 1, "x" }, { 18, "x", 5 }, { 9.5, "x", 10 }, { 40, "x" } }
    start(windows.rule("a", 'session("10s")', 'time = "ts", lateness = "20s"'))
    assert.same({ line("x", 1, 28, 3, 16), line("x", 40, 50, 1) }, wait_lines(2))
    none_left()
  end)

  it("that counts closes with the event that fills it", function()
    local events = {}
    for n = 1, 7 do
      events[#events + 1], events[#events + 2] = { n, "x", n }, n < 3 and { n, "y" } or nil
    end
    put(events)
    start(windows.rule("a", "count(3)", 'time = "ts"'))
    assert.same({ line("x", 1, 3, 3, 6), line("x", 4, 6, 3, 15) }, wait_lines(2))
    e:wait_done()
    assert.equal(2, server:call("HLEN", e:key "windows:a")) -- those that are not full: x has one, y has two
    assert.same({}, e:letters())
  end)

  it("waits for events that come out of order, as far as `lateness` goes", function()
    put { { 9, "x" }, { 11, "x" }, { 3, "x", 10 }, { 11.999, "x" }, { 0, "x", 20 }, { 12, "x" }, { 13, "x" } }
    start(windows.rule("a", 'tumbling("10s")', 'time = "ts", lateness = "2s"'))
    assert.same({ line("x", 0, 10, 3, 31), line("x", 10, 20, 4) }, wait_lines(2))
    none_left()
    assert.same({}, e:letters())
  end)

  it("closes before the event runs that closes it, and lets its handler do all that others may", function()
    put { { 1, "x" }, { 2, "y" }, { 12, "z" }, { 13, "x" } }
    start(engine.rule([[
      ctx.window.n = (ctx.window.n or 0) + 1
      ctx.redis.rpush("log", "event " .. ctx.key)
    ]], [[stream = "orders", key = "k", time = "ts", window = require("tidemill.window").tumbling("10s"),
      on_window = function(span, ctx)
        ctx.state.closed = (ctx.state.closed or 0) + ctx.window.n
        ctx.redis.rpush("log", ("window %s %s %d %.0f"):format(ctx.key, ctx.redis.get("name") or "-", ctx.state.closed,
          ctx.now - span.stop))
      end]]))
    e:wait_equal(8, function() return server:call("LLEN", "log") end)
    assert.same({ "event x", "event y", "window x - 1 0", "window y - 1 0", "event z", "event x", "window x - 2 0", "window z - 1 0" },
      list "log")
    none_left()
    assert.same({ closed = 2 }, (e:state("a", "x")))
    assert.same({}, e:letters())
  end)

  describe("of which an event comes too late", function()
    local HEAD = 'time = "ts", lateness = "2s"'

    it("has it as a letter `late`, and counts it", function()
      local ids = put { { 5, "x" }, { 12, "y" }, { 9, "x" }, { 11, "x" } }
      start(windows.rule("a", 'tumbling("10s")', HEAD))
      assert.same({ line("x", 0, 10, 1), line("x", 10, 20, 1), line("y", 10, 20, 1) }, wait_lines(3))
      e:wait_done()
      local letters = e:letters()
      assert.equal(1, #letters)
      local letter = letters[1]
      assert.same({ "late", "a", ids[3], "orders", "x", "1" }, { letter.reason, letter.rule, letter.id, letter.stream, letter.key,
        letter.attempts })
      assert.equal("data", letter.event[1])
      assert.equal(1, e:status().rules[1].late)
      none_left()
    end)

    it("hands it to on_late, whose effects and state count", function()
      local ids = put { { 5, "x" }, { 12, "y" }, { 9, "x" }, { 4, "x" }, { 11, "x" } }
      start(windows.rule("a", 'tumbling("10s")', HEAD .. [[, on_late = function(event, ctx)
        ctx.state.late = (ctx.state.late or 0) + event.amount
        ctx.redis.rpush("late", ("%s %s %.0f %s"):format(ctx.id, ctx.key, ctx.now, tostring(ctx.window)))
      end]]))
      wait_lines(3)
      e:wait_done()
      assert.same({ ("%s x %.0f nil"):format(ids[3], T + 9000), ("%s x %.0f nil"):format(ids[4], T + 4000) }, list "late")
      assert.same({ late = 2 }, (e:state("a", "x")))
      assert.equal(2, e:status().rules[1].late)
      assert.same({}, e:letters())
    end)

    it("that is retried is as late as before", function()
      put { { 5, "x" }, { 12, "y" }, { 9, "x" } }
      start(windows.rule("a", 'tumbling("10s")', HEAD))
      wait_lines(2)
      e:wait_true(function() return #e:letters() == 1 end)
      local code, _, err = program.run { "dlq", "retry", "--all", "--group", "g", "--redis", server:url() }
      assert.same({ 0, "" }, { code, err })
      e:wait_true(function() return #e:letters() == 1 and e:letters()[1].attempts == "2" end)
      assert.equal("late", e:letters()[1].reason)
      assert.equal(2, #list())
    end)
  end)

  it("closes on a quiet stream, when nothing has come for `idle`", function()
    start(windows.rule("a", 'tumbling("1s")', 'time = "ts", idle = "300ms"'))
    local id = timed.put(server, "orders", { { k = "x", ts = T, amount = 4 } })[1]
    assert.same({ line("x", 0, 1, 1, 4) }, wait_lines(1))
    assert.is_true(timed.now_ms(server) >= timed.ms_of(id) + 1000) -- the stream's time stands at T until the end of `idle`
    none_left()
  end)

  it("of entry IDs closes on a quiet stream, when its time is over", function()
    start(windows.rule("a", 'tumbling("500ms")', 'idle = "50ms"'))
    local id = timed.put(server, "orders", { { k = "x", amount = 4 } })[1]
    local from = timed.ms_of(id) - timed.ms_of(id) % 500
    assert.same({ ("x %.0f %.0f n=1 sum=4"):format(from, from + 500) }, wait_lines(1))
    assert.is_true(timed.now_ms(server) >= from + 500)
    none_left()
  end)

  it("stays over a restart, with all that is in it", function()
    start(windows.rule("a", 'session("20s")', 'time = "ts", idle = "1h"'))
    timed.put(server, "orders", { { k = "x", ts = T, amount = 4 }, { k = "y", ts = T + 1000 } })
    e:wait_done()
    e:stop()
    e = e:another()
    timed.put(server, "orders", { { k = "x", ts = T + 19000, amount = 3 } })
    e:wait_done()
    e:kill()
    server:call("DEL", e:key "lease")
    e = e:another()
    timed.put(server, "orders", { { k = "z", ts = T + 60000, amount = 3 } })
    assert.same({ ("y %.0f %.0f n=1 sum=0"):format(T + 1000, T + 21000), line("x", 0, 39, 2, 7) }, wait_lines(2))
    e:wait_done()
    assert.equal(1, server:call("HLEN", e:key "windows:a"))
    for _, letter in ipairs(e:letters()) do
      assert.equal("unverified", letter.reason)
    end
  end)

  -- Every kind closes as it was opened, whatever the rule has been edited to; and the engine does not care.
  for _, kinds in ipairs {
    { 'tumbling("10s")', 'session("5s")' }, { 'tumbling("10s")', 'sliding("20s", "10s")' }, { 'session("5s")', 'sliding("20s", "10s")' },
    { 'session("5s")', 'tumbling("10s")' }, { 'sliding("20s", "10s")', 'session("5s")' }, { 'sliding("20s", "10s")', 'tumbling("10s")' },
    { 'sliding("20s", "10s")', 'sliding("30s", "15s")' }, { 'tumbling("10s")', "count(1)" },
  } do
    it(("that is edited from %s to %s closes all the same"):format(kinds[1], kinds[2]), function()
      put { { 1, "x" }, { 2, "x" }, { 3, "y" } }
      start(windows.rule("a", kinds[1], 'time = "ts", idle = "1h"'))
      e:wait_done()
      files.write_file(e.folder .. "/rules/a.lua", windows.rule("a", kinds[2], 'time = "ts", idle = 200'))
      assert.equal(0, (program.run { "reload", "--control", e.control }))
      none_left() -- by `idle`
      local told = {}
      for _, each in ipairs(list()) do told[each:match "^%w+ %d+"] = each:match "n=%d+" end
      assert.equal("n=2", told[("x %.0f"):format(kinds[1]:find "session" and T + 1000 or kinds[1]:find "sliding" and T - 10000 or T)])
      assert.same({}, e:letters())
      assert.equal(0, e:status().workers[1].restarts)
    end)
  end

  it("whose on_window fails is a letter with its table, and has closed", function()
    put { { 1, "x", 5 }, { 2, "y", 6 }, { 2, "x", 7 }, { 15, "x" } }
    start(engine.rule([[ctx.window.n = (ctx.window.n or 0) + event.amount]],
      [[stream = "orders", key = "k", time = "ts", window = require("tidemill.window").tumbling("10s"),
      on_window = function(span, ctx)
        ctx.redis.rpush("half", ctx.key)
        if ctx.key == "x" and not ctx.redis.get("mended") then error("cannot close") end
        ctx.redis.rpush("a", ("%s %.0f %.0f %d"):format(ctx.key, span.start, span.stop, ctx.window.n))
      end]]))
    e:wait_true(function() return #e:letters() == 2 end)
    local letter, span = e:letters()[1], ("%.0f-%.0f"):format(T, T + 10000)
    assert.same({ "error", "", "a", span, "x", ("%.0f"):format(T + 10000), "1" }, { letter.reason, letter.event, letter.rule,
      letter.window, letter.key, letter.id, letter.attempts })
    assert.matches("cannot close", letter.message)
    assert.same({ n = 12 }, engine.unpack(letter.payload))
    assert.same({ ("y %.0f %.0f 6"):format(T, T + 10000) }, list())
    assert.same({ "y" }, list "half")
    none_left()
    server:call("SET", "mended", 1)
    local code, _, err = program.run { "dlq", "retry", "--all", "--group", "g", "--redis", server:url() }
    assert.same({ 0, "" }, { code, err })
    wait_lines(3)
    assert.same({ ("y %.0f %.0f 6"):format(T, T + 10000), ("x %.0f %.0f 12"):format(T, T + 10000),
      ("x %.0f %.0f 1"):format(T + 10000, T + 20000) }, list())
    assert.same({}, e:letters())
  end)

  it("is bounded: thousands close at once, each once, in several commits", function()
    local events = {}
    for n = 1, 3500 do
      events[n] = { 1, "k" .. n, n }
    end
    events[3501] = { 11, "end" }
    put(events)
    start(windows.rule("a", 'tumbling("10s")', 'time = "ts"'))
    local is, seen = wait_lines(3501), {}
    for _, each in ipairs(is) do
      seen[each] = true
    end
    for n = 1, 3500 do
      assert.is_true(seen[line("k" .. n, 0, 10, 1, n)])
    end
    assert.is_true(tonumber(e:ctl "commits") >= 4)
    none_left()
  end)

  ---- drawn input ----

  local RULES = { tumbling = { "tumbling(1000)", size = 1000 }, sliding = { "sliding(2000, 500)", size = 2000, step = 500 },
    session = { "session(300)", gap = 300 } }

  local function rules(head)
    local texts = {}
    for kind, one in pairs(RULES) do
      texts[kind .. ".lua"] = windows.rule(kind, one[1], 'time = "ts", ' .. head)
    end
    return texts
  end

  -- Events in the order of their times, some at the same one; a key is busy or rare.
  local function draw_events(count)
    local events, ts = {}, T
    for n = 1, count do
      ts = ts + math.random(0, 20)
      events[n] = { ts = ts, k = math.random(3) == 1 and "rare" .. math.random(40) or "busy" .. math.random(3), amount = n }
    end
    return events
  end

  -- In the order in which they arrive: each up to `ms` later than its time.
  local function shuffle(events, ms)
    local order = {}
    for n, event in ipairs(events) do
      order[n] = { at = event.ts + math.random(0, ms), n = n, event = event }
    end
    table.sort(order, function(a, b)
      if a.at ~= b.at then return a.at < b.at end
      return a.n < b.n
    end)
    for n, one in ipairs(order) do
      order[n] = one.event
    end
    return order
  end

  local function feed(events)
    for n, event in ipairs(events) do
      event.id = ("%.0f-%d"):format(T + 60000, n)
    end
    timed.put(server, "orders", events)
    e:wait_position("orders", events[#events].id, 20)
    e:wait_done()
  end

  local function model_of(kind, lateness, events)
    local one = RULES[kind]
    local model, ids = windows.model { kind = kind, size = one.size, step = one.step, gap = one.gap, lateness = lateness }, {}
    for _, event in ipairs(events) do
      if model:event(event.ts, event.k, event.amount) then
        ids[#ids + 1] = event.id
      end
    end
    model:finish()
    return model, ids
  end

  local function same_lines(expected, is, what)
    for i = 1, math.max(#expected, #is) do
      assert.equal(expected[i] or "nothing", is[i] or "nothing", ("TIDEMILL_SEED=%d: %s, window %d"):format(SEED, what, i))
    end
  end

  local function late_ids(rule)
    local ids = {}
    for _, letter in ipairs(e:letters()) do
      assert.equal("late", letter.reason)
      if letter.rule == rule then
        ids[#ids + 1] = letter.id
      end
    end
    return ids
  end

  it("is the same for events that are shuffled within lateness as for those in order", function()
    math.randomseed(SEED)
    start(rules 'lateness = 400')
    local events = draw_events(3000)
    local shuffled = shuffle(events, 400)
    feed(shuffled)
    for kind in pairs(RULES) do
      none_left(kind)
      local expected = model_of(kind, 400, events).lines
      local is = list(kind)
      table.sort(expected)
      table.sort(is)
      same_lines(expected, is, kind)
    end
    assert.same({}, e:letters())
  end)

  for _, batch_events in ipairs { 1, 13, false } do
    it("accounts for every event that is shuffled beyond lateness" .. (batch_events and (", %d to a batch"):format(batch_events) or ""),
      function()
        math.randomseed(SEED)
        start(rules 'lateness = 100', { batch_events = batch_events or nil })
        local events = shuffle(draw_events(2000), 2500)
        feed(events)
        for kind in pairs(RULES) do
          none_left(kind)
          local model, ids = model_of(kind, 100, events)
          assert.is_true(#ids > 10, ("TIDEMILL_SEED=%d: only %d late"):format(SEED, #ids))
          same_lines(model.lines, list(kind), kind)
          assert.same(ids, late_ids(kind), ("TIDEMILL_SEED=%d: %s"):format(SEED, kind))
        end
        local counted = #late_ids "tumbling"
        for _, each in ipairs(list "tumbling") do
          counted = counted + tonumber(each:match "n=(%d+)")
        end
        assert.equal(#events, counted)
      end)
  end
end)
