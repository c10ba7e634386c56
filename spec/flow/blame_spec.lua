-- Events that take a worker down, in the middle of what it does for others; and such as take the whole engine down each time, so
-- that nobody is left to tell: found by the note in ctl (src/worker/trail.h).
local engine = require "spec.support.engine"
local files = require "spec.support.files"
local redis = require "spec.support.redis"

-- No limit stops a rule here, and no lease runs out: the spec is the only one that kills.
local SETTINGS = { batch_events = 50, lease_ms = 120000, limits = { rule_ms = 30000, hard_ms = 30000 } }

-- Counts every event; `poisoned`: on which events it never comes back, having said so.
local function counting(name, poisoned)
  return engine.rule(([[
    ctx.redis.rpush("seen:%s", event.n)
    ctx.state.n = (ctx.state.n or 0) + 1
    if %s then
      ctx.log.warn("poisoned")
      while true do end
    end]]):format(name, poisoned or "false"))
end

describe("an event that takes", function()
  local server, e

  before_each(function() server = redis.start() end)

  after_each(function() e = engine.clear(server, e) end)

  local function note() return e:ctl "note" end

  -- Kills it while it is in a rule, as a power cut does.
  local function die(rule)
    e:wait_logged("rule_warn_" .. rule)
    e:kill()
    server:call("DEL", e:key "lease")
  end

  local function all_but(last, missing)
    local list = {}
    for n = 1, last do
      if not missing[n] then
        list[#list + 1] = tostring(n)
      end
    end
    return list
  end

  local function check(last, letters, missing)
    e:wait_position("orders", "1-" .. last)
    e:wait_done()
    local found = {}
    for _, letter in ipairs(e:letters()) do
      if letter.reason ~= "unverified" then -- one a death at most: nobody saw what Redis said to the commit in flight
        found[#found + 1] = { letter.reason, letter.rule, letter.id, letter.attempts, letter.key, letter.event[1] }
      end
    end
    assert.same(letters, found)
    for name, gone in pairs(missing) do
      assert.same(all_but(last, gone), server:call("LRANGE", "seen:" .. name, 0, -1), name)
      assert.same({ n = #all_but(last, gone) }, e:state(name, ""))
    end
  end

  it("a worker down, with a signal that is its own doing, is a letter of each rule that it did so in", function()
    engine.flood(server, "orders", 2000)
    e = engine.start { server = server, settings = SETTINGS, rules = { ["a.lua"] = counting("a", "event.n == 777"),
      ["m.lua"] = counting "m", ["z.lua"] = counting("z", "event.n == 777 or event.n == 1500") } }
    local ILL = "4" -- AddressSanitizer would catch SEGV and write its report into the log
    for _, case in ipairs { { "a", 1, ILL }, { "z", 1, "ABRT" }, { "z", 2, ILL } } do
      e:wait_logged("rule_warn_" .. case[1], 5, case[2])
      e:kill_worker(1, case[3])
    end
    check(2000, { { "crash", "a", "1-777", "1", "", "data" }, { "crash", "z", "1-777", "1", "", "data" },
      { "crash", "z", "1-1500", "1", "", "data" } }, { a = { [777] = true }, m = {}, z = { [777] = true, [1500] = true } })
    assert.equal(3, #e:logged "worker_ended")
    e:stop()
  end)

  it("a worker down, by not coming back from a pattern, is a letter `hang`; all else is exact", function()
    engine.flood(server, "orders", 2000)
    e = engine.start { server = server, settings = { lease_ms = 60000, limits = { hard_ms = 200 } }, rules = { ["a.lua"] = counting "a",
      ["p.lua"] = engine.rule [[
        if event.n == 777 then return (("a"):rep(60)):find(("a*"):rep(30) .. "b") end
        ctx.redis.rpush("seen:p", event.n)
        ctx.state.n = (ctx.state.n or 0) + 1]], ["z.lua"] = counting "z" } }
    check(2000, { { "hang", "p", "1-777", "1", "", "data" } }, { a = {}, p = { [777] = true }, z = {} })
    e:stop()
  end)

  it("the whole engine down is a letter of the rule that it dies in, after four deaths; all else is exact", function()
    engine.flood(server, "orders", 120)
    e = engine.start { server = server, settings = SETTINGS,
      rules = { ["a.lua"] = counting "a", ["p.lua"] = counting("p", "event.n == 77"), ["z.lua"] = counting "z" } }
    for deaths, expected in ipairs { "^%-$", "^0 1%-77 0 %? %- orders$", "^1 1%-77 0 p/%x+ %- orders$",
      "^2 1%-77 0 p/%x+ %- orders$" } do
      die "p"
      assert.matches(expected, note())
      assert.equal(deaths == 1 and "1-50" or "1-76", e:position "orders")
      e = e:another()
    end
    check(120, { { "crash", "p", "1-77", "1", "", "data" } }, { a = {}, p = { [77] = true }, z = {} })
    local letters = e:letters()
    assert.equal("the engine died 3 times in this rule on this event", letters[#letters].message)
    assert.equal("-", note())
    e:stop()
    assert.is_nil(note())
  end)

  it("the whole engine down in two rules: is a letter of each", function()
    engine.flood(server, "orders", 20)
    e = engine.start { server = server, settings = SETTINGS, rules = { ["a.lua"] = counting("a", "event.n == 7"), ["m.lua"] = counting "m",
      ["z.lua"] = counting("z", "event.n == 7") } }
    for _ = 1, 4 do
      die "a"
      e = e:another()
    end
    for _, expected in ipairs { "^0 1%-7 0 z/%x+ a/%x+ orders$", "^1 1%-7 0 z/%x+ a/%x+ orders$", "^2 1%-7 0 z/%x+ a/%x+ orders$" } do
      die "z"
      assert.matches(expected, note())
      e = e:another()
    end
    check(20, { { "crash", "a", "1-7", "1", "", "data" }, { "crash", "z", "1-7", "1", "", "data" } },
      { a = { [7] = true }, m = {}, z = { [7] = true } })
  end)

  it("the whole engine down runs when the rule was edited meanwhile", function()
    engine.flood(server, "orders", 20)
    e = engine.start { server = server, settings = SETTINGS, rules = { ["p.lua"] = counting("p", "event.n == 7") } }
    for deaths = 1, 4 do
      die "p"
      if deaths < 4 then
        e = e:another()
      end
    end
    files.write_file(e.folder .. "/rules/p.lua", counting "p")
    e = e:another()
    check(20, {}, { p = {} })
  end)

  it("the whole engine down is not blamed for deaths between which another one was reached", function()
    engine.flood(server, "orders", 20)
    server:call("SET", "stuck", 5)
    e = engine.start { server = server, settings = SETTINGS, rules = { ["p.lua"] = counting("p",
      'ctx.redis.get("stuck") == tostring(event.n)') } }
    for _, case in ipairs { { "^%-$" }, { "^0 1%-5 0 %? " }, { "^1 1%-5 0 p/", 6 }, { "^0 1%-6 0 %? " }, { "^1 1%-6 0 p/", 0 } } do
      die "p"
      assert.matches(case[1], note())
      if case[2] then
        server:call("SET", "stuck", case[2])
      end
      e = e:another()
    end
    check(20, {}, { p = {} })
  end)

  it("the whole engine down that is a letter tried again is a letter once more, with one attempt more", function()
    server:call("SET", "fails", 1)
    engine.flood(server, "orders", 3)
    e = engine.start { server = server, settings = SETTINGS, rules = { ["p.lua"] = engine.rule [[
      if event.n == 2 then
        if ctx.redis.get("fails") then error "not yet" end
        ctx.log.warn("poisoned")
        while true do end
      end]] } }
    e:wait_position("orders", "1-3")
    server:call("DEL", "fails")
    local program = require "spec.support.program"
    assert.equal(0, (program.run { "dlq", "retry", "--all", "--group", "g", "--redis", server:url() }))
    for _, expected in ipairs { "^%-$", "^0 1%-2 1 %? ", "^1 1%-2 1 p/", "^2 1%-2 1 p/" } do
      die "p"
      assert.matches(expected, note())
      e = e:another()
    end
    e:wait_equal(0, function() return server:call("XLEN", e:key "inbox") end, 5, "the letters in the inbox")
    local letters = e:letters()
    assert.same({ "crash", "2", "1-2" }, { letters[1].reason, letters[1].attempts, letters[1].id })
    assert.equal(1, #letters)
  end)

  it("the whole engine down is none when it is killed at any moment under load", function()
    local seed = tonumber(os.getenv "TIDEMILL_SEED") or os.time()
    math.randomseed(seed)
    engine.flood(server, "orders", 60000)
    e = engine.start { server = server, settings = { batch_events = 100, lease_ms = 600, limits = { hard_ms = 200 } },
      rules = { ["a.lua"] = counting "a", ["p.lua"] = counting "p" } }
    for _ = 1, 20 do
      e:wait_owner()
      local before, more = e:position "orders", math.random(2000)
      e:wait_true(function()
        local at = tonumber(e:position("orders"):match "%-(%d+)")
        return at >= tonumber(before:match "%-(%d+)") + more or at == 60000
      end)
      e:kill()
      server:call("DEL", e:key "lease")
      e = e:another()
    end
    check(60000, {}, { a = {}, p = {} })
  end)
end)
