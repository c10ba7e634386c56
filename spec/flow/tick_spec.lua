-- Timers and windows through the whole engine: they fire on a quiet stream, in order, exactly once.
local engine = require "spec.support.engine"
local redis = require "spec.support.redis"

local REMIND = [[
local tidemill = require "tidemill"
return tidemill.rule {
  stream = "cart", key = "user",
  on_event = function(event, ctx)
    ctx.state.n = (ctx.state.n or 0) + 1
    if event.cancel then ctx.timer.cancel "remind" else ctx.timer.set("remind", event.delay or "30ms", { n = ctx.state.n }) end
  end,
  on_timer = function(name, ctx)
    ctx.redis.rpush("out", name .. ":" .. ctx.key .. ":" .. ctx.payload.n .. ":" .. ctx.state.n)
    ctx.redis.hset("when", ctx.key, ctx.now)
  end,
}]]

describe("a timer", function()
  local server, e

  after_each(function()
    if e then e:kill() end
    if server then server:stop() end
    e, server = nil, nil
  end)

  local function start(options)
    server = server or redis.start { tcp = true }
    options.server = server
    e = engine.start(options)
    return e
  end

  it("fires on a quiet stream, once", function()
    start { rules = { ["remind.lua"] = REMIND } }
    server:call("XADD", "cart", "*", "user", "ann")
    e:wait_equal(1, function() return server:call("LLEN", "out") end)
    assert.same({ "remind:ann:1:1" }, server:call("LRANGE", "out", 0, -1))
    assert.equal(0, server:call("EXISTS", "tidemill:g:timers:remind:wall"))
  end)
end)
