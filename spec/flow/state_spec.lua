-- What rules remember: loaded, kept, expired, swept, bounded in memory (design 3.3, 3.6).
local engine = require "spec.support.engine"
local redis = require "spec.support.redis"

describe("state", function()
  local server, e

  before_each(function() server = redis.start() end)

  after_each(function() e = engine.clear(server, e) end)

  local function start(options)
    options.server = server
    e = engine.start(options)
    return e
  end

  -- Redis' clock in ms.
  local function now_ms()
    local now = server:call "TIME"
    return tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
  end

  local function send(id, event)
    if type(id) == "number" then
      id = ("%.0f-0"):format(id)
    end
    server:call("XADD", "orders", id, "data", engine.pack(event))
    e:wait_position("orders", id)
  end

  it("is kept for each key of each rule, over a restart", function()
    start { rules = { ["a.lua"] = engine.rule([[ctx.state.sum = (ctx.state.sum or 0) + event.n]], 'stream = "orders", key = "k"'),
      ["b.lua"] = engine.rule([[ctx.state.list = ctx.state.list or {} table.insert(ctx.state.list, event.n)]],
        'stream = "orders", key = function(event) return event.k .. "!" end') } }
    send("1-1", { k = "x", n = 1 })
    send("1-2", { k = "y", n = 2 })
    e:stop()
    e = e:another()
    send("1-3", { k = "x", n = 3 })
    assert.same({ sum = 4 }, e:state("a", "x"))
    assert.same({ sum = 2 }, e:state("a", "y"))
    assert.same({ list = { 1, 3 } }, e:state("b", "x!"))
    assert.same({ "a", "b" }, { e:status().rules[1].name, e:status().rules[2].name })
    local _, expiry, version = e:state("a", "x")
    assert.same({ 0, 1 }, { expiry, version })
  end)

  it("is cleared by nil and by an empty table: the field goes", function()
    start { rules = { ["a.lua"] = engine.rule([[
      if event.n == 1 then ctx.state = { a = 1 } elseif event.n == 2 then ctx.state = nil
      elseif event.n == 3 then ctx.state.b = 2 else ctx.state.b = nil end]], 'stream = "orders", key = "k"') } }
    send("1-1", { k = "x", n = 1 })
    assert.same({ a = 1 }, e:state("a", "x"))
    send("1-2", { k = "x", n = 2 })
    assert.is_nil(e:state("a", "x"))
    send("1-3", { k = "x", n = 3 })
    assert.same({ b = 2 }, e:state("a", "x"))
    send("1-4", { k = "x", n = 4 })
    assert.equal(0, server:call("EXISTS", e:key "state:a"))
  end)

  it("is not touched by a rule that does not use it: no loads, no key needed", function()
    server:call("ACL", "SETUSER", "mill", "on", ">pw", "&*", "+@all", "~orders", "~out", "~tidemill:g:ctl", "~tidemill:g:lease",
      "~tidemill:g:dlq", "~tidemill:g:inbox")
    start { url = server:url("", "mill:pw@"), rules = { ["a.lua"] = engine.rule([[ctx.emit("out", { n = event.n })]],
      'stream = "orders", key = "k"') } }
    for n = 1, 50 do
      server:call("XADD", "orders", "1-" .. n, "data", engine.pack { k = "k" .. n, n = n })
    end
    e:wait_position("orders", "1-50")
    assert.equal(50, #e:emitted "out")
    assert.equal(0, e:status().partitions[1].state_keys)
  end)

  it("is not written when nothing changed", function()
    start { rules = { ["a.lua"] = engine.rule([[ctx.state.n = 1]], 'stream = "orders", key = "k"') } }
    send("1-1", { k = "x" })
    local writes = function()
      return tonumber(server:call("INFO", "commandstats"):match "cmdstat_hset:calls=(%d+)")
    end
    e:wait_done()
    local before, commits = writes(), e:ctl "commits"
    send("1-2", { k = "x" })
    e:wait_done()
    assert.equal(1, tonumber(e:ctl "commits") - tonumber(commits))
    assert.equal(1, writes() - before) -- ctl's
  end)

  it("that another version of the bytes wrote and nobody can read counts as empty, and is told", function()
    server:call("HSET", "tidemill:g:state:a", "x", "no msgpack", "y", "\x93\0\1\xc1", "z", "\x93\0\1\x81\xa1n\x05")
    start { rules = { ["a.lua"] = engine.rule([[ctx.state.n = (ctx.state.n or 0) + 1]], 'stream = "orders", key = "k"') } }
    send("1-1", { k = "x" })
    send("1-2", { k = "y" })
    send("1-3", { k = "z" })
    assert.same({ { n = 1 }, { n = 1 }, { n = 6 } }, { (e:state("a", "x")), (e:state("a", "y")), (e:state("a", "z")) })
    assert.is_truthy(e:wait_logged "state_unreadable")
  end)

  it("that is no table counts as empty, and is told", function()
    for _, bytes in ipairs { "\x93\0\1\x05", "\x93\0\1\xa1x", "\x93\0\1\xc0" } do
      server:call("FLUSHALL")
      server:call("HSET", "tidemill:g:state:a", "x", bytes)
      start { rules = { ["a.lua"] = engine.rule([[ctx.state.n = (ctx.state.n or 0) + 1]], 'stream = "orders", key = "k"') } }
      send("1-1", { k = "x" })
      assert.same({ n = 1 }, (e:state("a", "x")))
      assert.equal("it is no map and no array", e:wait_logged("state_unreadable").cause)
      e:kill()
    end
  end)

  describe("with a TTL", function()
    local RULES = { ["a.lua"] = engine.rule([[
      ctx.state.n = (ctx.state.n or 0) + 1
      ctx.emit("out", { k = event.k, n = ctx.state.n })]], 'stream = "orders", key = "k", state = { ttl = "10s" }') }

    it("reads as empty once expired, by the clock of the entries", function()
      start { rules = RULES }
      local base = now_ms() - 100000
      for i, step in ipairs { { 0, 1 }, { 9999, 2 }, { 19998, 3 }, { 29998, 1 }, { 30000, 2 } } do
        send(base + step[1], { k = "x" })
        local out = e:emitted "out"
        assert.same({ k = "x", n = step[2] }, out[i], "step " .. i)
      end
      local _, expiry = e:state("a", "x")
      assert.equal(base + 40000, expiry)
    end)

    it("also when it comes from Redis: after a restart", function()
      start { rules = RULES }
      local base = now_ms() - 100000
      send(base, { k = "x" })
      send(base + 1, { k = "y" })
      e:stop()
      e = e:another()
      send(base + 10000, { k = "x" })
      send(base + 10000.5 + 0.5, { k = "z" })
      assert.same({ n = 1 }, e:state("a", "x"))
    end)

    it("by a clock that never goes back: a stream with older IDs does not wake it up", function()
      local base = now_ms() - 100000
      server:call("XADD", "orders", ("%.0f-0"):format(base), "data", engine.pack { k = "x" })
      server:call("XADD", "orders", ("%.0f-0"):format(base + 20000), "data", engine.pack { k = "y" })
      start { rules = { ["a.lua"] = (RULES["a.lua"]:gsub('stream = "orders"', 'stream = { "orders", "other" }')) } }
      e:wait_position("orders", ("%.0f-0"):format(base + 20000))
      local id = ("%.0f-0"):format(base + 5000)
      server:call("XADD", "other", id, "data", engine.pack { k = "x" })
      e:wait_position("other", id)
      assert.same({ n = 1 }, e:state("a", "x"))
    end)

    it("is swept from Redis once it has expired, without any event; others stay", function()
      server:call("HSET", "tidemill:g:state:b", "keep", "\x93\0\1\x81\xa1n\x05")
      start { rules = { ["a.lua"] = (RULES["a.lua"]:gsub('"10s"', '"500ms"')),
        ["b.lua"] = engine.rule([[ctx.state.n = 1]], 'stream = "none", key = "k"') } }
      local commands = {}
      for n = 1, 5000 do
        commands[n] = { "XADD", "orders", "*", "data", engine.pack { k = "k" .. n } }
      end
      server:pipeline(commands)
      e:wait_done()
      assert.is_true(server:call("HLEN", e:key "state:a") > 0)
      e:wait_equal(0, function() return server:call("HLEN", e:key "state:a") end, 20, "states in Redis")
      assert.equal(1, server:call("HLEN", e:key "state:b"))
      send(now_ms() + 1, { k = "k1" })
      assert.same({ n = 1 }, e:state("a", "k1"))
    end)
  end)

  it("is bounded in memory: 200,000 keys with a cache of 1 MB, every count exact", function()
    local KEYS, ROUNDS = 200000, 2
    local commands, id = {}, 0
    for _ = 1, ROUNDS do
      for k = 1, KEYS do
        id = id + 1
        commands[#commands + 1] = { "XADD", "orders", "1-" .. id, "k", k }
        if #commands == 20000 then
          server:pipeline(commands)
          commands = {}
        end
      end
    end
    start { rules = { ["a.lua"] = engine.rule([[
      ctx.state.n = (ctx.state.n or 0) + 1
      ctx.state.text = "some text that takes room"]], 'stream = "orders", key = "k"') }, settings = { state_cache_mb = 1 } }
    e:wait_position("orders", "1-" .. id, 60)
    assert.equal(KEYS, server:call("HLEN", e:key "state:a"))
    for k = 1, KEYS, 997 do
      assert.same({ n = ROUNDS, text = "some text that takes room" }, e:state("a", tostring(k)))
    end
    local peak, status = e:peak_kb(), e:status().partitions[1]
    assert.is_true(status.state_bytes < 2.5 * 1024 * 1024, "cache " .. status.state_bytes)
    -- Sanitizers keep freed memory for a while.
    assert.is_true(os.getenv "VARIANT" == "asan" or peak < 64 * 1024, "peak " .. peak .. " KiB")
  end)

  it("with no cache at all is still right", function()
    start { rules = { ["a.lua"] = engine.rule([[ctx.state.n = (ctx.state.n or 0) + 1]], 'stream = "orders", key = "k"') },
      settings = { state_cache_mb = 0, batch_events = 10 } }
    local commands = {}
    for n = 1, 2000 do
      commands[n] = { "XADD", "orders", "1-" .. n, "k", n % 3 }
    end
    server:pipeline(commands)
    e:wait_position("orders", "1-2000")
    assert.same({ n = 666 }, e:state("a", "0"))
    assert.same({ n = 667 }, e:state("a", "1"))
  end)

  it("has keys of any bytes", function()
    start { rules = { ["a.lua"] = engine.rule([[ctx.state.k = ctx.key]], 'stream = "orders", key = "k"') } }
    local keys = { "a\0b", "\xff\xfe", " x\n", ("k"):rep(5000), "" }
    for n, key in ipairs(keys) do
      send("1-" .. n, { k = key })
      assert.same({ k = key }, e:state("a", key))
    end
  end)
end)
