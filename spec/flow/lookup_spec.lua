-- Lookups: a rule asks Redis, as if at once, and sees all effects of earlier events, not those of its own (design 3.3).
local engine = require "spec.support.engine"
local proxy = require "spec.support.proxy"
local redis = require "spec.support.redis"

describe("a lookup", function()
  local server, front, e

  before_each(function() server = redis.start() end)

  after_each(function() e, front = engine.clear(server, e, front) end)

  local function start(rules, settings, options)
    options = options or {}
    options.server, options.settings = server, settings
    options.rules = type(rules) == "table" and rules or { ["a.lua"] = rules }
    e = engine.start(options)
    return e
  end

  local function feed(count, make)
    engine.flood(server, "orders", count, make)
  end

  local function done(count, deadline_s)
    e:wait_position("orders", "1-" .. count, deadline_s or 20)
    e:wait_done()
    local letters = e:letters()
    assert.equal(0, #letters, letters[1] and letters[1].message .. "\n" .. letters[1].traceback)
  end

  it("answers with strings, numbers, nil, lists and tables by field", function()
    server:call("SET", "text", "abc")
    server:call("HSET", "hash", "a", "1", "b", "zwei")
    server:call("RPUSH", "list", "x", "y")
    server:call("ZADD", "ranks", "1.5", "m")
    server:call("XADD", "log", "1-1", "f", "v")
    feed(1)
    start(engine.rule [[
      local r = ctx.redis
      local h = r.hgetall("hash")
      local none = r.hgetall("nohash")
      ctx.emit("out", {
        text = r.get("text"), missing = r.get("nothing") == nil, len = r.strlen("text"), a = h.a, b = h.b,
        none = next(none) == nil, list = r.lrange("list", 0, -1), first = r.lindex("list", 0), score = r.zscore("ranks", "m"),
        hm = r.hmget("hash", "a", "b"), exists = r.exists("text", "hash", "nothing"), type = r.type("list"),
        entry = r.xrange("log", "-", "+")[1][1], ttl = r.ttl("text"), member = r.sismember("noset", "x"),
      })]])
    done(1)
    assert.same({ text = "abc", missing = true, len = 3, a = "1", b = "zwei", none = true, list = { "x", "y" }, first = "x",
      score = "1.5", hm = { "1", "zwei" }, exists = 2, type = "list", entry = "1-1", ttl = -1, member = 0 }, e:emitted("out")[1])
  end)

  it("sees the effects of all earlier events and none of its own, in any batch", function()
    feed(1500, function(n) return { k = "k" .. n % 5 } end)
    for _, batch in ipairs { 1000, 13 } do
      start({
        ["a.lua"] = engine.rule([[
          local before = tonumber(ctx.redis.get("count")) or 0
          ctx.redis.incr("count")
          local after = tonumber(ctx.redis.get("count")) or 0
          ctx.emit("out", { n = event.n, before = before, after = after })]], 'stream = "orders", key = "k"'),
      }, { batch_events = batch })
      done(1500)
      local out = e:emitted "out"
      assert.equal(1500, #out)
      for n = 1, 1500 do
        assert.same({ n = n, before = n - 1, after = n - 1 }, out[n])
      end
      e:stop()
      server:call("DEL", "count", "out", e:key "ctl")
      server:call("XGROUP", "DESTROY", "orders", "g")
    end
  end)

  it("sees what another rule and another stream wrote before, and what emit added", function()
    feed(400)
    start({
      ["1.lua"] = engine.rule([[ctx.redis.hincrby("sums", event.n % 3, event.n) ctx.emit("log", { n = event.n })]],
        'stream = "orders", name = "one"'),
      ["2.lua"] = engine.rule([[
        ctx.emit("out", { n = event.n, sum = tonumber((ctx.redis.hget("sums", event.n % 3))) or 0, len = ctx.redis.xlen("log") })]],
        'stream = "orders", name = "two"'),
    })
    done(400)
    local sums = { [0] = 0, 0, 0 }
    for n, got in ipairs(e:emitted "out") do
      -- Effects of the same event are not seen, those of another rule neither.
      assert.same({ n = n, sum = sums[n % 3], len = n - 1 }, got)
      sums[n % 3] = sums[n % 3] + n
    end
    assert.is_true(e:status().partitions[1].cuts > 0)
  end)

  it("without a key sees everything as well", function()
    feed(60)
    start(engine.rule [[
      ctx.emit("out", { n = event.n, size = ctx.redis.dbsize(), any = ctx.redis.randomkey() ~= nil })
      ctx.redis.set("key:" .. event.n, "1")]])
    done(60)
    local out = e:emitted "out"
    for n = 3, 60 do
      assert.equal(out[n - 1].size + 1, out[n].size, "event " .. n)
    end
  end)

  it("of many keys travels in one pipeline: few round trips, no cuts", function()
    front = proxy.start(server)
    for k = 1, 500 do
      server:call("HSET", "user:" .. k, "segment", "s" .. k % 3)
    end
    feed(2000, function(n) return { k = n % 500 + 1 } end)
    front:delay(10)
    start(engine.rule([[
      local user = ctx.redis.hgetall("user:" .. event.k)
      ctx.state.n = (ctx.state.n or 0) + 1
      ctx.emit("out", { n = event.n, segment = user.segment, turn = ctx.state.n })]], 'stream = "orders", key = "k"'),
      { batch_ms = "1s" }, { url = front:url() }) -- no batch ends because the machine is busy
    done(2000)
    for n, got in ipairs(e:emitted "out") do
      assert.same({ n = n, segment = "s" .. (n % 500 + 1) % 3, turn = math.floor((n - 1) / 500) + 1 }, got)
    end
    local p = e:status().partitions[1]
    -- The first read is run again, once it is known that the rule asks.
    assert.is_true(p.lookups >= 2000 and p.lookups <= 2064, p.lookups)
    assert.is_true(p.cuts < 5, p.cuts)
    assert.is_true(p.commits < 40, p.commits)
  end)

  it("parks one key and not the others, and keeps each key's order", function()
    feed(3000, function(n) return { k = n % 7, ask = n % 10 == 0 } end)
    start(engine.rule([[
      local s = ctx.state
      s.order = (s.order or 0) + 1
      local got
      if event.ask then got = ctx.redis.get("nothing") end
      ctx.emit("out", { n = event.n, order = s.order })]], 'stream = "orders", key = "k"'))
    done(3000)
    local order = {}
    for n, got in ipairs(e:emitted "out") do
      local k = n % 7
      order[k] = (order[k] or 0) + 1
      assert.same({ n = n, order = order[k] }, got)
    end
  end)

  it("may be asked many times by one event, in a loop, in a coroutine, in pcall", function()
    for k = 1, 20 do
      server:call("SET", "n" .. k, k)
    end
    feed(30)
    start(engine.rule [[
      local sum = 0
      for k = 1, 10 do sum = sum + tonumber(ctx.redis.get("n" .. k)) end
      local co = coroutine.wrap(function()
        for k = 11, 20 do coroutine.yield(tonumber(ctx.redis.get("n" .. k))) end
      end)
      for _ = 11, 20 do sum = sum + co() end
      local ok, why = pcall(ctx.redis.lrange, "n1", 0, -1)
      local fine, text = pcall(ctx.redis.get, "n7")
      ctx.emit("out", { sum = sum, ok = ok, why = why, fine = fine, text = text })]])
    done(30)
    for _, got in ipairs(e:emitted "out") do
      assert.same({ 210, false, true, "7" }, { got.sum, got.ok, got.fine, got.text })
      assert.matches("WRONGTYPE", got.why)
    end
  end)

  it("inside a callback of table.sort raises, with the rule's line", function()
    feed(1)
    start(engine.rule [[
      local list = { 3, 1, 2 }
      table.sort(list, function(a, b) return ctx.redis.get("x") ~= nil and a < b end)]])
    e:wait_position("orders", "1-1")
    e:wait_done()
    local letter = e:letters()[1]
    assert.equal("error", letter.reason)
    assert.matches("^a.lua:6: ctx%.redis%.get: a lookup cannot wait inside a callback", letter.message)
  end)

  it("that fails a rule undoes what it did, and the others go on", function()
    server:call("SET", "text", "abc")
    feed(40, function(n) return { k = n % 4 } end)
    start(engine.rule([[
      ctx.state.n = (ctx.state.n or 0) + 1
      ctx.emit("out", { n = event.n })
      if event.k == 2 then ctx.redis.llen("text") end
      ctx.redis.get("text")]], 'stream = "orders", key = "k"'))
    e:wait_position("orders", "1-40")
    e:wait_done()
    assert.equal(10, #e:letters())
    assert.equal(30, #e:emitted "out")
    assert.is_nil(e:state("a", "2"))
    assert.same({ n = 10 }, e:state("a", "1"))
  end)

  it("that Redis forbids is the rule's error, not the engine's", function()
    server:call("ACL", "SETUSER", "mill", "on", ">pw", "~tidemill:g:*", "~orders", "~out", "&*", "+@all")
    feed(2)
    start(engine.rule [[ctx.redis.get("secret")]], nil, { url = server:url("", "mill:pw@") })
    e:wait_position("orders", "1-2")
    e:wait_done()
    assert.equal(2, #e:letters())
    assert.matches("NOPERM", e:letters()[1].message)
    assert.matches("a.lua:5: in", e:letters()[1].traceback)
  end)

  it("sees the truth again after the connection was cut in the middle", function()
    front = proxy.start(server)
    feed(4000, function(n) return { k = n % 5 } end)
    start(engine.rule([[
      local before = tonumber(ctx.redis.get("count:" .. event.k)) or 0
      ctx.redis.incr("count:" .. event.k)
      ctx.emit("out", { n = event.n, before = before })]], 'stream = "orders", key = "k"'), { batch_events = 50 },
      { url = front:url() })
    for round = 1, 6 do
      e:wait_true(function() return server:call("XLEN", "out") >= round * 500 end, 15)
      front:cut()
    end
    e:wait_position("orders", "1-4000", 30)
    e:wait_done()
    local out = e:emitted "out"
    assert.equal(4000, #out)
    for n = 1, 4000 do
      assert.same({ n = n, before = math.floor((n - (n % 5 == 0 and 5 or n % 5)) / 5) }, out[n])
    end
  end)

  it("of binary keys and values", function()
    local key, value = "k\0\r\n$1", "\xff\0\r\n*3"
    server:call("SET", key, value)
    server:call("XADD", "orders", "1-1", "k", key)
    start(engine.rule [[ctx.emit("out", { v = ctx.redis.get(event.k) }) ctx.redis.set(event.k .. "2", ctx.redis.get(event.k))]])
    done(1)
    assert.same({ v = value }, e:emitted("out")[1])
    assert.equal(value, server:call("GET", key .. "2"))
  end)
end)
