-- What happens when Redis goes away, is slow, or refuses writes for a while: the engine waits, goes on by itself, and nothing
-- is lost or doubled.
local engine = require "spec.support.engine"
local exact = require "spec.support.exact"
local files = require "spec.support.files"
local peer = require "spec.support.peer"
local proxy = require "spec.support.proxy"
local redis = require "spec.support.redis"
local wait = require "spec.support.wait"

describe("an outage", function()
  local server, front, e

  local function start(config, options)
    server = redis.start { config = config }
    options = options or {}
    options.server, options.rules = server, exact.RULES
    options.settings = options.settings or { batch_events = 50 }
    if options.has_proxy then
      front = proxy.start(server)
      options.url = front:url()
    end
    if not options.is_late then
      e = engine.start(options)
      e:wait_owner()
    end
    return options
  end

  after_each(function()
    if e then
      e:kill()
    end
    if front then
      front:stop()
    end
    server.process:signal "CONT"
    server:stop()
    server, front, e = nil, nil, nil
  end)

  local function progressed(n)
    e:wait_true(function() return server:call("LLEN", "list") >= n end, 10, n .. " events done")
  end

  ---- the connection ----

  it("cuts the connections, again and again", function()
    start(nil, { has_proxy = true })
    for round = 1, 8 do
      exact.feed(server, round * 2000, round * 2000 - 1999)
      progressed(round * 2000 - 1500)
      front:cut()
    end
    exact.check(e, 16000)
    assert.same({}, exact.letters(e, 8))
    assert.is_true(e:logged("acquired")[2] ~= nil)
    e:stop()
  end)

  for _, case in ipairs { { "a commit", "XGROUP" }, { "an acquire", "SET" } } do
    it("loses the reply of " .. case[1], function()
      start(nil, { has_proxy = true })
      exact.feed(server, 500)
      progressed(500)
      front:swallow { with = case[2] }
      if case[2] == "SET" then
        front:cut()
      end
      exact.feed(server, 2000, 501)
      wait.until_equal(1, function() return front:count().swallow end, 10)
      exact.check(e, 2000)
      assert.same({}, exact.letters(e, 1))
    end)

    it("holds the EXEC of " .. case[1] .. " back, past the new connection", function()
      start(nil, { has_proxy = true })
      exact.feed(server, 500)
      progressed(500)
      front:hold { with = case[2] }
      if case[2] == "SET" then
        front:cut()
      end
      exact.feed(server, 2000, 501)
      wait.until_equal(1, function() return front:count().hold end, 10)
      e:wait_logged("acquired", 10, 2)
      progressed(1000)
      front:release()
      wait.until_equal(1, function() return front:count().fenced end, 10)
      exact.check(e, 2000)
      assert.equal(0, front:count().landed)
      assert.same({}, exact.letters(e, 1))
    end)

    it("holds the EXEC of " .. case[1] .. " back for a moment, so that it may land in between", function()
      start(nil, { has_proxy = true })
      local last = 0
      for _, ms in ipairs { 1, 2, 3, 5, 8, 13, 20, 40 } do
        front:hold { with = case[2], ms = ms }
        if case[2] == "SET" then
          front:cut()
        end
        exact.feed(server, last + 300, last + 1)
        last = last + 300
        progressed(last)
      end
      exact.check(e, last)
      assert.same({}, exact.letters(e, 8))
    end)
  end

  it("holds a whole transaction back, past the new connection", function()
    start(nil, { has_proxy = true })
    exact.feed(server, 500)
    progressed(500)
    front:hold { with = "XGROUP", whole = true }
    exact.feed(server, 2000, 501)
    wait.until_equal(1, function() return front:count().hold end, 10)
    e:wait_logged("acquired", 10, 2)
    front:release()
    exact.check(e, 2000)
    assert.equal(0, front:count().landed)
    assert.same({}, exact.letters(e, 1))
  end)

  it("loses the reply of a renewal", function()
    start(nil, { has_proxy = true, settings = { lease_ms = 600, limits = { hard_ms = 100 } } })
    front:swallow { with = "PEXPIRE" }
    wait.until_equal(1, function() return front:count().swallow end, 5)
    exact.feed(server, 1000)
    exact.check(e, 1000)
    assert.equal(1, #e:logged "acquired") -- the commit link never broke
  end)

  it("makes everything slow", function()
    start(nil, { has_proxy = true })
    front:delay(30)
    exact.feed(server, 1000)
    exact.check(e, 1000)
  end)

  ---- Redis itself ----

  it("restarts Redis, which recovers from its AOF", function()
    start { "appendonly yes", "appendfsync always" }
    for round = 1, 4 do
      exact.feed(server, round * 1000, round * 1000 - 999)
      progressed(round * 1000 - 800)
      if round % 2 == 0 then
        server:kill():launch()
      else
        server:restart()
      end
    end
    exact.check(e, 4000)
    assert.same({}, exact.letters(e, 4))
    e:stop()
  end)

  it("has Redis loading when the engine starts, and when it comes back", function()
    local options = start({ "appendonly yes", "key-load-delay 100", "loading-process-events-interval-bytes 1024" }, { is_late = true })
    exact.feed(server, 2000)
    server:call("DEBUG", "POPULATE", 15000) -- what takes long to load, a key at a time
    server:call "BGREWRITEAOF"
    wait.until_true(function() return server:call("INFO", "persistence"):find("aof_rewrite_in_progress:0", 1, true) end)
    server:shutdown()
    server.options.wait = false
    server:launch()
    wait.until_true(function() return peer.connect(server.socket):close() or true end)
    e = engine.start(options)
    e:wait_true(function() return e:log():find("LOADING", 1, true) end, 5, "LOADING in the log")
    assert.same({}, e:logged "acquired")
    exact.check(e, 2000, 20)
    local seen = #e:log()
    server:kill():launch()
    -- Its line may be one of those held back: then the next of its kind counts them.
    e:wait_true(function() return e:log():find('"kind":"acquire_later"', seen, true) end, 10, "LOADING in the log again")
    server:wait_ready(20)
    exact.feed(server, 2100, 2001)
    exact.check(e, 2100)
    assert.same({}, exact.letters(e, 1))
  end)

  -- Refusals of writes. `break_it` and `heal` run while events wait: the engine is stopped for that moment.
  local function waits_through(word, break_it, heal)
    exact.feed(server, 500)
    progressed(500)
    e:wait_done()
    e:signal "STOP"
    exact.feed(server, 3000, 501)
    break_it()
    local seen, cpu, began = #e:logged(), e:cpu_s(), wait.now()
    e:signal "CONT"
    e:wait_true(function()
      for _, kind in ipairs { "redis_later", "acquire_later", "ctl_changed" } do
        for _, line in ipairs(e:logged(kind)) do
          if (line.cause or ""):find(word, 1, true) then
            return true
          end
        end
      end
    end, 5, "a line with " .. word)
    wait.until_true(function() return wait.now() - began > 3 end, 5) -- long enough to see how often it speaks
    local took = wait.now() - began
    local per_kind, lines = {}, e:logged()
    for i = seen + 1, #lines do
      per_kind[lines[i].kind] = (per_kind[lines[i].kind] or 0) + 1
    end
    for kind, count in pairs(per_kind) do
      assert.is_true(count <= took + 1, ("%d lines %s in %.1f s"):format(count, kind, took))
    end
    assert.is_true(e:cpu_s() - cpu < 0.1 * took, ("CPU %.2f s in %.1f s"):format(e:cpu_s() - cpu, took))
    assert.is_true(e.process:is_running())
    assert.equal(500, server:call("LLEN", "list"))
    heal()
    exact.check(e, 3000)
    assert.same({}, exact.letters(e))
    e:stop()
  end

  it("turns Redis read-only", function()
    start({ "repl-timeout 60" })
    waits_through("READONLY", function() server:call("REPLICAOF", "127.0.0.1", redis.free_port()) end,
      function() server:call("REPLICAOF", "NO", "ONE") end)
  end)

  it("turns Redis into a replica that does not serve stale data", function()
    start({ "replica-serve-stale-data no" })
    exact.feed(server, 500)
    progressed(500)
    e:wait_done()
    e:signal "STOP"
    exact.feed(server, 600, 501)
    server:call("REPLICAOF", "127.0.0.1", redis.free_port())
    e:signal "CONT"
    e:wait_true(function() return e:log():find("MASTERDOWN", 1, true) end, 5, "MASTERDOWN in the log")
    assert.is_true(e.process:is_running())
    server:call("REPLICAOF", "NO", "ONE")
    exact.check(e, 600)
  end)

  it("fills Redis' memory", function()
    start()
    waits_through("OOM", function() server:call("CONFIG", "SET", "maxmemory", 1) end,
      function() server:call("CONFIG", "SET", "maxmemory", 0) end)
  end)

  it("keeps Redis from saving (MISCONF)", function()
    start { "enable-protected-configs yes" }
    local gone = files.temp_folder()
    waits_through("MISCONF", function()
      server:call("CONFIG", "SET", "dir", gone)
      files.remove_folder(gone)
      server:call("CONFIG", "SET", "save", "3600 1")
      server:call "BGSAVE"
      wait.until_true(function() return server:call("INFO", "persistence"):find("rdb_last_bgsave_status:err", 1, true) end, 5)
    end, function()
      server:call("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
    end)
  end)

  it("has too few replicas (NOREPLICAS)", function()
    start()
    waits_through("NOREPLICAS", function() server:call("CONFIG", "SET", "min-replicas-to-write", 1) end,
      function() server:call("CONFIG", "SET", "min-replicas-to-write", 0) end)
  end)

  it("keeps Redis busy with a script", function()
    start { "lua-time-limit 20" }
    exact.feed(server, 500)
    progressed(500)
    e:signal "STOP"
    exact.feed(server, 600, 501)
    local busy = redis.connect(server:url())
    busy:set_patience(0.2)
    pcall(busy.call, busy, "EVAL", "while true do end", 0)
    e:signal "CONT"
    e:wait_true(function() return e:log():find("BUSY", 1, true) end, 5, "BUSY in the log")
    server:call("SCRIPT", "KILL")
    busy:close()
    exact.check(e, 600)
  end)

  it("keeps Redis silent for a while", function()
    start()
    exact.feed(server, 500)
    server:pause()
    local cpu = e:cpu_s()
    wait.sleep(1.5) -- the silence itself
    assert.is_true(e:cpu_s() - cpu < 0.15)
    server:resume()
    exact.feed(server, 1000, 501)
    exact.check(e, 1000)
  end)

  it("is no reason not to stop: exit 0 within a second, with Redis silent", function()
    start()
    server:pause()
    e.process:signal "TERM"
    e:expect(0, 1.3)
    server:resume()
  end)

  it("is no reason not to stop: exit 0 within a second, with Redis gone", function()
    start()
    server:kill()
    e:wait_logged "redis_away"
    e.process:signal "TERM"
    e:expect(0, 1.3)
  end)
end)
