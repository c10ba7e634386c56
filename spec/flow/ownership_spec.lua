-- Who works on a partition: one owner, standbys, zombies, and a clean stop.
local engine = require "spec.support.engine"
local exact = require "spec.support.exact"
local redis = require "spec.support.redis"
local wait = require "spec.support.wait"

local SHORT = { lease_ms = 600, limits = { hard_ms = 200 }, batch_events = 100 }

describe("ownership", function()
  local server, engines

  local function start(settings, options)
    options = options or {}
    options.server, options.rules, options.settings = server, options.rules or exact.RULES, settings or SHORT
    local e = engine.start(options)
    table.insert(engines, e)
    return e
  end

  local function standby_of(e)
    local other = e:another()
    table.insert(engines, other)
    other:wait_logged "standby"
    return other
  end

  before_each(function()
    server, engines = redis.start(), {}
  end)

  after_each(function()
    for _, e in ipairs(engines) do
      e:kill()
    end
    server:stop()
  end)

  local function done(n)
    wait.until_true(function() return server:call("LLEN", "list") >= n end, 10, n .. " events done")
  end

  it("keeps its lease while it lives: same fence, the TTL never runs low", function()
    local e = start():wait_owner()
    local fence, token = e:ctl "fence", server:call("GET", e:key "lease")
    local until_s, least = wait.now() + 2, 1e9
    wait.until_true(function()
      least = math.min(least, server:call("PTTL", e:key "lease"))
      return wait.now() > until_s
    end, 4)
    assert.is_true(least > 100, "TTL went down to " .. least)
    assert.equal(fence, e:ctl "fence")
    assert.equal(token, server:call("GET", e:key "lease"))
    assert.matches("^1:%x+$", fence)
  end)

  it("passes to a standby within the lease when the owner is killed", function()
    local e = start():wait_owner()
    local other = standby_of(e)
    assert.equal("standby", other:status().partitions[1].state)
    exact.feed(server, 20000)
    done(2000)
    e:kill()
    local began = wait.now()
    other:wait_logged "acquired"
    local took = wait.now() - began
    assert.is_true(took < 0.6 + 0.4, "took over after " .. took)
    exact.check(other, 20000)
    assert.same({}, exact.letters(other, 1))
    assert.equal("owner", other:status().partitions[1].state)
  end)

  it("passes at once when the owner stops, under load, with exit status 0 within a second", function()
    local e = start { lease_ms = 30000, batch_events = 100 }:wait_owner()
    local other = standby_of(e)
    exact.feed(server, 20000)
    done(2000)
    e.process:signal "TERM"
    local began = wait.now()
    e:expect(0, 1)
    other:wait_logged "acquired"
    assert.is_true(wait.now() - began < 1, "took over after " .. wait.now() - began)
    exact.check(other, 20000)
    assert.same({}, exact.letters(other))
    assert.equal(1, #e:logged "stopped")
  end)

  for _, signal in ipairs { "TERM", "INT" } do
    it("ends cleanly under load with SIG" .. signal .. ": the lease is gone, the rest waits", function()
      local e = start { lease_ms = 30000, batch_events = 100 }:wait_owner()
      exact.feed(server, 40000)
      done(1000)
      e.process:signal(signal)
      e:expect(0, 1)
      assert.equal(0, server:call("EXISTS", e:key "lease"))
      assert.is_true(server:call("LLEN", "list") < 40000, "it was stopped in the middle")
      assert.is_nil(e:ctl "unverified")
      local other = e:another()
      table.insert(engines, other)
      exact.check(other, 40000)
      assert.same({}, exact.letters(other))
    end)
  end

  it("is not harmed by a standby that stops", function()
    local e = start():wait_owner()
    local other = standby_of(e)
    local token = server:call("GET", e:key "lease")
    other:stop()
    assert.equal(token, server:call("GET", e:key "lease"))
    exact.feed(server, 100)
    exact.check(e, 100)
  end)

  it("is taken from a zombie, which steps down and forgets all it knew", function()
    local e = start():wait_owner()
    local other = standby_of(e)
    exact.feed(server, 10000)
    done(1000)
    e:signal "STOP"
    other:wait_logged("acquired", 3)
    done(6000)
    e:signal "CONT"
    e:wait_logged "standby"
    exact.check(other, 10000)
    assert.equal("standby", e:status().partitions[1].state)
    -- And back: what the first one still had in memory must not count.
    other:signal "STOP"
    e:wait_logged("acquired", 3, 2)
    exact.feed(server, 12000, 10001)
    done(11000)
    other:signal "CONT"
    other:wait_logged("standby", 5, 2)
    exact.check(e, 12000)
    assert.same({}, exact.letters(e, 2))
    assert.matches("^3:", e:ctl "fence")
  end)

  it("goes on when somebody deletes the lease", function()
    local e = start():wait_owner()
    exact.feed(server, 100)
    server:call("DEL", e:key "lease")
    e:wait_logged("acquired", 3, 2)
    exact.feed(server, 200, 101)
    exact.check(e, 200)
    assert.equal(1, server:call("EXISTS", e:key "lease"))
  end)

  it("ends a worker's share within one batch when another fence is set", function()
    local e = start():wait_owner()
    exact.feed(server, 100)
    exact.check(e, 100)
    -- Another owner, as it would: its lease and its fence.
    server:pipeline { { "MULTI" }, { "SET", e:key "lease", "another", "PX", 60000 }, { "HSET", e:key "ctl", "fence", "77:abc" },
      { "EXEC" } }
    exact.feed(server, 200, 101)
    e:wait_logged "standby"
    assert.equal("1-100", e:position "orders")
    assert.equal(100, server:call("LLEN", "list"))
    server:call("DEL", e:key "lease")
    exact.check(e, 200)
    assert.matches("^78:", e:ctl "fence")
  end)

  it("is of a group: two groups read the same streams, each everything", function()
    local rules = { ["count.lua"] = engine.rule [[ctx.state.sum = (ctx.state.sum or 0) + event.n]] }
    local a = start(nil, { group = "a", rules = rules })
    local b = start(nil, { group = "b", rules = rules })
    exact.feed(server, 5000)
    for _, e in ipairs { a, b } do
      e:wait_position("orders", "1-5000")
      assert.same({ sum = 5000 * 5001 / 2 }, e:state("count", ""))
      assert.equal(0, e:group_info("orders").lag)
      assert.equal("1-5000", e:group_info("orders")["last-delivered-id"])
    end
    assert.not_equal(a:ctl "fence", b:ctl "fence")
  end)

  it("is of a partition: each passes by itself", function()
    local e = start(nil, { rules = { ["count.lua"] = engine.rule([[ctx.state.n = (ctx.state.n or 0) + 1]], 'stream = "in:*"') } })
    server:call("XADD", "in:{1}", "1-1", "n", 1)
    server:call("XADD", "in:{2}", "1-1", "n", 1)
    e:wait_position("in:{1}", "1-1", 8, "1")
    e:wait_position("in:{2}", "1-1", 8, "2")
    local other = standby_of(e)
    wait.until_equal(3, function() return #other:logged "standby" end, 5, "standing by for three partitions")
    server:pipeline { { "MULTI" }, { "SET", e:key("lease", "1"), "nobody", "PX", 300 }, { "HSET", e:key("ctl", "1"), "fence", "9:x" },
      { "EXEC" } }
    wait.until_true(function() return e:ctl("fence", "1"):match "^10:" end, 5, "partition 1 taken by one of them")
    assert.matches("^1:", e:ctl("fence", "2"))
    server:call("XADD", "in:{1}", "1-2", "n", 1)
    server:call("XADD", "in:{2}", "1-2", "n", 1)
    e:wait_position("in:{1}", "1-2", 8, "1")
    e:wait_position("in:{2}", "1-2", 8, "2")
    e:kill()
    other:wait_true(function()
      local owned = 0
      for _, p in ipairs(other:status().partitions) do
        owned = owned + (p.state == "owner" and 1 or 0)
      end
      return owned == 3
    end, 5, "all three owned by the other")
    server:call("XADD", "in:{1}", "1-3", "n", 1)
    other:wait_position("in:{1}", "1-3", 8, "1")
    assert.same({ n = 3 }, other:state("count", "", "1"))
    assert.same({ n = 2 }, other:state("count", "", "2"))
  end)

  it("of one group name is not mixed up with the control socket of another engine", function()
    local e = start():wait_owner()
    local other = engine.start { server = server, folder = e.folder, group = "h", arguments = { "--control", e.control } }
    table.insert(engines, other)
    other:expect(1)
    assert.matches("another engine answers on the control socket", other:log())
    assert.equal("g", e:status().group)
  end)
end)
