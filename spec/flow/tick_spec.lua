-- Time on a quiet stream, as the pipeline lets it pass (src/worker/tick.h): what it costs, what it needs, what it survives.
-- What timers and windows are for a rule: timer_spec.lua, window_spec.lua.
local engine = require "spec.support.engine"
local redis = require "spec.support.redis"
local wait = require "spec.support.wait"

local REMIND = [[
local tidemill = require "tidemill"
return tidemill.rule {
  stream = "cart", key = "user",
  on_event = function(event, ctx) ctx.timer.set("remind", tonumber(event.delay)) end,
  on_timer = function(_, ctx) ctx.redis.xadd("out", "*", "due", ctx.now) end,
}]]

local COUNT = engine.rule([[ctx.state.n = (ctx.state.n or 0) + 1]], 'stream = "cart"')

describe("on a quiet stream", function()
  local server, e

  before_each(function() server = redis.start() end)

  after_each(function() e = engine.clear(server, e) end)

  -- Calls so far, by command.
  local function calls(...)
    local all, found = {}, {}
    for name, count in server:call("INFO", "commandstats"):gmatch "cmdstat_([^:]+):calls=(%d+)" do all[name] = tonumber(count) end
    for n, name in ipairs { ... } do found[n] = all[name] or 0 end
    return found
  end

  it("a timer fires within 10 ms, as long as there is little to do", function()
    e = engine.start { server = server, rules = { ["remind.lua"] = REMIND } }:wait_owner()
    local late = {}
    for n = 1, 40 do server:call("XADD", "cart", "*", "user", n, "delay", 100 + 9 * n) end
    e:wait_equal(40, function() return server:call("XLEN", "out") end)
    for n, entry in ipairs(server:entries "out") do late[n] = tonumber(entry.id:match "^%d+") - tonumber(entry.fields.due) end
    table.sort(late)
    assert.is_true(late[1] >= 0)
    assert.is_true(late[20] < 10, "half of them are later than " .. late[20] .. " ms") -- the rest is the machine's
    e:stop()
  end)

  it("nothing is asked of Redis while what is pending is far away, or nothing is", function()
    for _, rule in ipairs { REMIND, COUNT } do
      e = engine.start { server = server, rules = { ["remind.lua"] = rule } }:wait_owner()
      server:call("XADD", "cart", "*", "user", "ann", "delay", 3600 * 1000)
      e:wait_done()
      local before = calls("multi", "zrangebyscore", "hlen")
      local seconds = calls "time"
      e:wait_true(function() return calls("time")[1] >= seconds[1] + 2 end, 5, "two looks of the worker at the clock")
      assert.same(before, calls("multi", "zrangebyscore", "hlen"))
      e:stop()
    end
  end)

  it("a window closes though a stream of its rule never had an entry, also behind a restart", function()
    local rules = { ["counts.lua"] = [[
local tidemill = require "tidemill"
return tidemill.rule {
  stream = { "a", "b" }, time = "at", window = tidemill.window.tumbling "1s", idle = "300ms",
  on_event = function(event, ctx) ctx.window.n = (ctx.window.n or 0) + 1 end,
  on_window = function(span, ctx) ctx.redis.rpush("out", span.start .. "-" .. span.stop .. ":" .. ctx.window.n) end,
}]] }
    e = engine.start { server = server, rules = rules }:wait_owner()
    server:call("XADD", "a", "*", "at", "1500000000500")
    server:call("XADD", "a", "*", "at", "1500000000600")
    e:wait_done()
    e:kill()
    server:call("DEL", e:key "lease")
    e = e:another()
    e:wait_equal(1, function() return server:call("LLEN", "out") end)
    assert.same({ "1500000000000-1500000001000:2" }, server:call("LRANGE", "out", 0, -1))
    assert.is_true(tonumber(e:ctl "watermark:counts") >= 1500000001000)
    assert.equal("1500000000600", e:ctl "seen:counts:a")
    assert.equal(0, server:call("EXISTS", e:key "windows:counts"))
    e:stop()
  end)

  it("what a timer wants and Redis refuses is a letter of the timer", function()
    server:call("SET", "bad", "no list")
    e = engine.start { server = server, rules = { ["remind.lua"] = REMIND:gsub("ctx.redis.xadd.-%)", [[
      ctx.redis.rpush("good", ctx.key) ctx.redis.rpush("bad", ctx.key)]]) } }
    server:call("XADD", "cart", "*", "user", "ann", "delay", 1)
    e:wait_equal(1, function() return #e:letters() end)
    local letter = e:letters()[1]
    assert.same({ "refused", "remind", "remind", "ann", "", "" },
      { letter.reason, letter.rule, letter.timer, letter.key, letter.stream, letter.event })
    assert.matches("^%d+$", letter.id)
    assert.same({ "ann" }, server:call("LRANGE", "good", 0, -1))
    e:stop()
  end)

  it("what a timer wants and Redis does not even queue is a letter of the timer, and all else is done", function()
    server:call("ACL", "SETUSER", "mill", "on", ">pw", "~*", "&*", "+@all", "-publish")
    e = engine.start { server = server, url = server:url("", "mill:pw@"), rules = { ["remind.lua"] = REMIND:gsub("ctx.redis.xadd.-%)", [[
      ctx.redis.rpush("good", ctx.key) ctx.redis.publish("news", ctx.key) ctx.redis.rpush("good", ctx.key .. "!")]]) } }
    for _, user in ipairs { "ann", "bob" } do server:call("XADD", "cart", "*", "user", user, "delay", 1) end
    e:wait_equal(2, function() return #e:letters() end)
    e:wait_equal(4, function() return server:call("LLEN", "good") end)
    for n, user in ipairs { "ann", "bob" } do
      local letter = e:letters()[n]
      assert.same({ "refused", "remind", user, "1" }, { letter.reason, letter.timer, letter.key, letter.attempts })
      assert.matches("PUBLISH.*" .. user, letter.payload)
    end
    assert.same({ "ann", "ann!", "bob", "bob!" }, server:call("LRANGE", "good", 0, -1))
    assert.equal(2, e:status().partitions[1].fired)
    e:stop()
  end)

  -- No limit stops a rule here, and no lease runs out.
  local PATIENT = { batch_events = 50, lease_ms = 120000, limits = { rule_ms = 30000, hard_ms = 30000 } }
  local POISONED = [[
local tidemill = require "tidemill"
return tidemill.rule {
  stream = "cart", key = "user",
  on_event = function(event, ctx)
    ctx.redis.rpush("events", ctx.key)
    if event.delay then ctx.timer.set("remind", tonumber(event.delay)) end
  end,
  on_timer = function(_, ctx)
    ctx.redis.rpush("fired", ctx.key)
    if ctx.key == "5" then
      ctx.log.warn("poisoned")
      while true do end
    end
  end,
}]]

  local function die(expected_note)
    e:wait_logged "rule_warn_remind"
    e:kill()
    assert.matches(expected_note, e:ctl "note")
    server:call("DEL", e:key "lease")
    e = e:another()
  end

  for _, case in ipairs { { "at the tail", 30 }, { "before an event", 1 } } do
    it("a timer that takes the whole engine down is a letter after four deaths, " .. case[1], function()
      local commands, users = {}, {}
      local now = server:call "TIME"
      local ms = tonumber(now[1]) * 1000 - 60000
      for n = 1, 9 do
        commands[n], users[n] = { "XADD", "cart", ms + n, "user", n, "delay", case[2] == 1 and 100 or 60000 + case[2] }, tostring(n)
      end
      if case[2] == 1 then
        for n = 1, 9 do commands[9 + n] = { "XADD", "cart", ms + 200 + n, "user", n } end
      end
      server:own():pipeline(commands)
      e = engine.start { server = server, settings = PATIENT, rules = { ["remind.lua"] = POISONED } }
      for _, expected in ipairs { "^%-$", "^0 %d+%-%d+ 0 %? %- $", "^1 %d+%-%d+ 0 remind/%x+ %- $", "^2 %d+%-%d+ 0 remind/%x+ %- $" } do
        die(expected)
      end
      e:wait_equal(8, function() return server:call("LLEN", "fired") end)
      e:wait_equal(case[2] == 1 and 18 or 9, function() return server:call("LLEN", "events") end)
      table.remove(users, 5)
      assert.same(users, server:call("LRANGE", "fired", 0, -1))
      local found = {}
      for _, letter in ipairs(e:letters()) do
        if letter.reason ~= "unverified" then found[#found + 1] = letter end
      end
      assert.equal(1, #found)
      assert.same({ "crash", "remind", "remind", "5" }, { found[1].reason, found[1].rule, found[1].timer, found[1].key })
      e:stop()
    end)
  end

  it("overdue timers fire when the engine is back, and each once", function()
    e = engine.start { server = server, rules = { ["remind.lua"] = REMIND } }:wait_owner()
    local commands = {}
    for n = 1, 5000 do commands[n] = { "XADD", "cart", "*", "user", n, "delay", 1500 + n % 7 } end
    server:own():pipeline(commands)
    e:wait_done()
    e:kill()
    server:call("DEL", e:key "lease")
    wait.until_true(function() -- the last of them is due
      local last = server:call("ZRANGE", e:key "timers:remind:wall", -1, -1, "WITHSCORES")
      local now = server:call "TIME"
      return tonumber(last[2]) < tonumber(now[1]) * 1000
    end, 10)
    e = e:another()
    e:wait_equal(5000, function() return server:call("XLEN", "out") end)
    e:wait_equal(0, function() return server:call("EXISTS", e:key "timers:remind:wall") end)
    assert.equal(5000, server:call("XLEN", "out"))
    e:stop()
  end)
end)
