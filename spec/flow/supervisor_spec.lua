-- The processes of an engine: workers that die and are replaced, partitions that are spread over them, and a supervisor
-- that stops, stands still or is killed.
local engine = require "spec.support.engine"
local exact = require "spec.support.exact"
local program = require "spec.support.program"
local redis = require "spec.support.redis"
local tree = require "spec.support.tree"
local wait = require "spec.support.wait"

local LONG = { lease_ms = 60000 } -- who waits for such a lease to expire has failed
local RULE = [[ctx.redis.rpush("list", event.n)]]

local function tagged(stream)
  return engine.rule([[ctx.redis.rpush("list:" .. event.tag, event.n)]], ("stream = %q"):format(stream))
end

local TWO = { ["a.lua"] = tagged "a:{1}", ["b.lua"] = tagged "b:{2}" } -- two partitions

describe("a supervisor", function()
  local server, engines

  before_each(function()
    server, engines = redis.start(), {}
  end)

  after_each(function()
    for _, e in ipairs(engines) do
      e:kill()
    end
    server:stop()
  end)

  local function start(options)
    options.server = server
    local e = engine.start(options)
    engines[#engines + 1] = e
    return e
  end

  local function add(first, last, stream, more)
    for n = first, last do
      server:call("XADD", stream or "orders", "1-" .. n, "n", n, unpack(more or {}))
    end
  end

  ---- death ----

  it("replaces a worker that is killed: its partition is taken over long before the lease ends", function()
    local e = start { rules = exact.RULES, settings = { lease_ms = 60000, batch_events = 100 } }
    e:wait_owner()
    for kill = 1, 3 do
      exact.feed(server, kill * 20000, (kill - 1) * 20000 + 1)
      e:wait_true(function() return server:call("LLEN", "list") > (kill - 1) * 20000 end, 10, "some work")
      local fence, pid = e:ctl "fence", e:kill_worker()
      e:wait_true(function() return e:ctl "fence" ~= fence end, 5, "a successor")
      e:wait_position("orders", "1-" .. kill * 20000, 10)
      assert.is_true(e:workers()[1] ~= pid)
    end
    exact.check(e, 60000)
    assert.equal(3, #e:logged "worker_ended")
    assert.equal(3, e:status().workers[1].restarts)
    e:stop()
  end)

  it("waits longer each time when workers die without having done anything", function()
    local e = start { rules = { ["r.lua"] = engine.rule(RULE) }, settings = LONG }
    e:wait_owner()
    local began, last = wait.now(), 0
    for n = 1, 5 do
      local pid = e:wait_workers()[1]
      assert.is_true(pid ~= last)
      last = pid
      e:kill_worker()
      e:wait_logged("worker_ended", 5, n)
    end
    local before = wait.now() - began
    assert.is_true(before >= (50 + 100 + 200 + 400) / 2 / 1000, "waited for only " .. before)
    add(1, 1)
    e:wait_position("orders", "1-1")
    e:kill_worker() -- it has worked: its successor comes at once
    e:wait_logged("worker_ended", 5, 6)
    add(2, 2)
    e:wait_position("orders", "1-2", 2)
    e:stop()
  end)

  it("replaces a worker that was told to stop, which gives its lease back", function()
    local e = start { rules = { ["r.lua"] = engine.rule(RULE) }, settings = LONG }
    e:wait_owner()
    e:kill_worker(1, "TERM")
    local line = e:wait_logged "worker_ended"
    assert.same({ "info", "exit status 0" }, { line.level, line.how })
    add(1, 1)
    e:wait_position("orders", "1-1")
    e:stop()
  end)

  it("ends with 1 when a worker cannot go on, after that has told the cure", function()
    server:call("CONFIG", "SET", "maxmemory", "100mb")
    server:call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    local e = start { rules = TWO, settings = LONG, arguments = { "--workers", "2" } }
    e:expect(1)
    assert.matches("%-%-allow%-eviction", e:logged("fatal")[1].message)
    assert.same({}, e:workers())
  end)

  ---- blame ----

  local POISON = [[
    if event.n == "3" then %s end
    ctx.redis.rpush("list", event.n)]]

  local function is_blamed(e, reason, message, is_fed)
    if not is_fed then
      add(1, 5)
    end
    e:wait_position("orders", "1-5", 15)
    e:wait_done()
    local letters = e:letters()
    assert.equal(1, #letters)
    assert.same({ reason, "poison", "1-3" }, { letters[1].reason, letters[1].rule, letters[1].id })
    assert.matches(message, letters[1].message)
    assert.same({ "1", "2", "4", "5" }, server:call("LRANGE", "list", 0, -1))
    assert.equal("error", e:wait_logged("blamed").level)
    e:stop()
  end

  it("blames an event in whose rule a worker hangs, and goes on without it", function()
    local e = start { rules = { ["poison.lua"] = engine.rule(
      POISON:format [[(("a"):rep(60)):find(("a*"):rep(30) .. "b")]]) },
      settings = { lease_ms = 60000, limits = { hard_ms = 200 } } }
    is_blamed(e, "hang", "ran longer than 200 ms of CPU without end %(limits.hard_ms%)")
  end)

  it("blames an event in whose rule a worker crashed, never one whose worker was killed", function()
    local e = start { rules = { ["poison.lua"] = engine.rule(
      POISON:format [[(("a"):rep(60)):find(("a*"):rep(30) .. "b")]]) },
      settings = { lease_ms = 60000, limits = { hard_ms = 60000 / 3 } } }
    add(1, 5)
    -- It does not come back from event 3: a signal that only its own doing raises is evidence, SIGKILL is none.
    for _, signal in ipairs { "KILL", "KILL", "ABRT" } do
      local before = #e:logged "worker_ended"
      e:wait_true(function() return e:ctl "offset:orders" and #e:workers() == 1 end)
      e:wait_true(function()
        local pid = e:workers()[1]
        local cpu = pid and e:cpu_s() or 0
        return cpu > 0.3
      end, 10, "a rule that does not end")
      e:kill_worker(1, signal)
      e:wait_logged("worker_ended", 5, before + 1)
      if signal == "KILL" then
        assert.same({}, e:logged "blamed")
      end
    end
    is_blamed(e, "crash", "signal 6 %(Aborted%)", true)
  end)

  ---- partitions ----

  local function partitions_of(e)
    local by_worker = {}
    for i, w in ipairs(e:status().workers) do
      by_worker[i] = w.partitions
    end
    return by_worker
  end

  it("spreads partitions over workers, each in one of them", function()
    local e = start { rules = { ["r.lua"] = tagged "in:*" }, settings = LONG, arguments = { "--workers", "2" } }
    for tag = 1, 5 do
      add(1, 3, "in:{" .. tag .. "}", { "tag", tag })
    end
    e:wait_true(function()
      for tag = 1, 5 do
        if server:call("LLEN", "list:" .. tag) ~= 3 then return false end
      end
      return true
    end, 10, "all events of all partitions")
    local s = e:status()
    assert.same({ 3, 3 }, partitions_of(e)) -- and the one that remembers the globs
    assert.equal(6, #s.partitions)
    assert.same(e:workers(), { s.workers[1].pid, s.workers[2].pid })
    for _, w in ipairs(s.workers) do
      assert.is_true(w.responding and w.restarts == 0)
    end
    local by = {}
    for _, line in ipairs(e:logged "acquired") do
      assert.is_true(by[line.partition] == nil or by[line.partition] == line.worker, e:log())
      by[line.partition] = line.worker
    end
    local pid = e:kill_worker(2)
    e:wait_true(function() return #e:workers() == 2 and e:workers()[2] ~= pid end, 5, "a successor")
    for tag = 1, 5 do
      add(4, 4, "in:{" .. tag .. "}", { "tag", tag })
      e:wait_position("in:{" .. tag .. "}", "1-4", 5, tostring(tag))
    end
    for _, line in ipairs(e:logged "acquired") do
      assert.equal(by[line.partition], line.worker)
    end
    e:stop()
  end)

  it("by itself starts no more workers than partitions or cores", function()
    local e = start { rules = { ["r.lua"] = engine.rule(RULE) }, settings = LONG }
    e:wait_owner()
    assert.equal(1, #e:workers())
    e:stop()
    local other = start { rules = { ["r.lua"] = tagged "in:*" }, settings = LONG, group = "h" }
    for tag = 1, 8 do
      add(1, 1, "in:{" .. tag .. "}", { "tag", tag })
    end
    for tag = 1, 8 do
      other:wait_position("in:{" .. tag .. "}", "1-1", 10, tostring(tag))
    end
    local cores = tonumber(io.popen("nproc"):read "*l")
    assert.equal(math.min(cores, 9), #other:workers())
    other:stop()
  end)

  it("starts streams that come later at their start, whichever worker gets them", function()
    add(1, 1, "in:{1}", { "tag", 1 })
    local e = start { rules = { ["r.lua"] = tagged "in:*" }, settings = LONG, from = "end", arguments = { "--workers", "3" } }
    e:wait_position("in:{1}", "1-1", 5, "1")
    for tag = 2, 5 do
      add(1, 2, "in:{" .. tag .. "}", { "tag", tag })
    end
    for tag = 2, 5 do
      e:wait_position("in:{" .. tag .. "}", "1-2", 10, tostring(tag))
      assert.equal(2, server:call("LLEN", "list:" .. tag))
    end
    assert.equal(0, server:call("LLEN", "list:1"))
    e:stop()
  end)

  ---- the supervisor itself ----

  it("is killed: its workers commit, give their leases back and end", function()
    local e = start { rules = TWO, settings = LONG, arguments = { "--workers", "2" } }
    e:wait_owner "1"
    e:wait_owner "2"
    local workers = e:wait_workers(2)
    e.process:kill()
    wait.until_true(function() return not tree.is_alive(workers[1]) and not tree.is_alive(workers[2]) end, 5, "their end")
    assert.equal(0, server:call("EXISTS", e:key("lease", "1"), e:key("lease", "2")))
    assert.equal(2, #e:logged "supervisor_gone")
  end)

  it("is killed while a worker hangs in a rule: nobody is left behind", function()
    local e = start { rules = { ["r.lua"] = engine.rule [[(("a"):rep(60)):find(("a*"):rep(30) .. "b")]] },
      settings = { lease_ms = 60000, limits = { hard_ms = 20000 } } }
    e:wait_owner()
    local worker = e:workers()[1]
    add(1, 1)
    e:wait_true(function() return e:cpu_s() > 0.3 end, 10, "a rule that does not end")
    e.process:kill()
    wait.until_true(function() return not tree.is_alive(worker) end, 8, "the worker's end")
  end)

  it("stands still: its worker gives the lease back, and takes it again when nobody else has", function()
    local e = start { rules = { ["r.lua"] = engine.rule(RULE) }, settings = { lease_ms = 3000 } }
    e:wait_owner()
    add(1, 1)
    e:wait_position("orders", "1-1")
    e.process:signal "STOP"
    e:wait_logged "supervisor_still"
    e:wait_true(function() return server:call("EXISTS", e:key "lease") == 0 end, 3, "the lease given back")
    add(2, 2)
    e.process:signal "CONT"
    e:wait_position("orders", "1-2")
    assert.same({ "1", "2" }, server:call("LRANGE", "list", 0, -1))
    e:stop()
  end)

  it("stops in time also when a worker does not", function()
    local e = start { rules = { ["r.lua"] = engine.rule [[(("a"):rep(60)):find(("a*"):rep(30) .. "b")]] },
      settings = { lease_ms = 60000, limits = { hard_ms = 20000 } } }
    e:wait_owner()
    add(1, 1)
    e:wait_true(function() return e:cpu_s() > 0.3 end, 10, "a rule that does not end")
    e:stop(2)
    assert.equal(1, #e:logged "worker_late")
    assert.same({}, e:letters())
  end)

  it("shows a worker that does not answer, and all that do", function()
    local e = start { rules = TWO, settings = LONG, arguments = { "--workers", "2" } }
    e:wait_owner "1"
    e:wait_owner "2"
    local workers = e:wait_workers(2)
    tree.send(workers[1], "STOP")
    e:wait_equal("T", function() return tree.state(workers[1]) end, 5, "a stopped worker")
    local s = e:status()
    assert.same({ false, true }, { s.workers[1].responding, s.workers[2].responding })
    assert.same({ 1, 2 }, { #s.partitions, #s.rules })
    tree.send(workers[1], "CONT")
    e:wait_true(function() return e:status().workers[1].responding end, 5, "an answer")
    local code, out = program.run { "status", "--control", e.control, "--group", "g" }
    assert.equal(0, code)
    assert.matches("WORKER +UP MS +RESTARTS +PARTITIONS +RESPONDING\n *" .. workers[1] .. " +%d+ +0 +1 +yes\n", out)
    e:stop()
  end)
end)
