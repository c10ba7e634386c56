-- What a running engine tells of itself (status, log), and `--embedded`.
local engine = require "spec.support.engine"
local files = require "spec.support.files"
local peer = require "spec.support.peer"
local program = require "spec.support.program"
local redis = require "spec.support.redis"
local wait = require "spec.support.wait"

local COUNT = engine.rule([[ctx.state.n = (ctx.state.n or 0) + 1 ctx.redis.rpush("list", event.n)]], 'stream = "orders"')

describe("a running engine", function()
  local server, e

  after_each(function()
    if e then
      e:kill()
    end
    if server then
      server:stop()
    end
    e, server = nil, nil
  end)

  local function start(options)
    server = server or redis.start { tcp = true }
    options = options or {}
    options.server, options.rules = server, options.rules or { ["count.lua"] = COUNT }
    e = engine.start(options)
    return e
  end

  local function add(last, first)
    for n = first or 1, last do
      server:call("XADD", "orders", "1-" .. n, "n", n)
    end
  end

  it("answers on its control socket what it does", function()
    start { rules = { ["count.lua"] = COUNT, ["sad.lua"] = engine.rule([[error "sad"]], 'stream = "orders", name = "sad"') } }
    add(5)
    e:wait_position("orders", "1-5")
    e:wait_done()
    e:wait_equal(5, function() return e:status().partitions[1].events end)
    local s = e:status()
    assert.same({ "g", server:url(), true, e.process.pid }, { s.group, s.redis, s.connected, s.pid })
    assert.is_true(s.up_ms > 0 and s.up_ms < 60000)
    assert.same({ "count", "sad" }, { s.rules[1].name, s.rules[2].name })
    assert.same({ 0, 5 }, { s.rules[1].failed, s.rules[2].failed })
    assert.same({ "orders" }, s.rules[1].streams)
    assert.equal("count.lua", s.rules[1].file)
    local p = s.partitions[1]
    assert.same({ "-", "owner", 5, 5, 5, 1 }, { p.name, p.state, p.events, p.effects, p.letters, p.state_keys })
    assert.equal(e:ctl "fence", p.fence)
    assert.same({ { name = "orders", position = "1-5", read = 5, lost = 0, left_out = false } }, { (function(x)
      return { name = x.name, position = x.position, read = x.read, lost = x.lost, left_out = x.left_out }
    end)(p.streams[1]) })
    e:stop()
    assert.is_false(files.exists(e.control))
  end)

  it("answers `tidemill status`, and only its owner's user", function()
    start()
    add(2)
    e:wait_position("orders", "1-2")
    local code, out, err = program.run { "status", "--control", e.control, "--group", "g" }
    assert.same({ 0, "" }, { code, err })
    assert.matches("orders", out)
    assert.matches("count", out)
    code, out = program.run { "status", "--json", "--control", e.control, "--group", "g" }
    assert.equal(0, code)
    assert.equal(1, select(2, out:gsub("\n", "")))
    assert.is_truthy(out:find('"group":"g"', 1, true))
    local pipe = io.popen("stat -c %a " .. e.control)
    assert.equal("600", pipe:read "*l")
    pipe:close()
    e:stop()
    code, out, err = program.run { "status", "--control", e.control, "--group", "g" }
    assert.same({ 1, "" }, { code, out })
    assert.matches("no engine answers", err)
  end)

  it("answers nonsense with an error, half questions with patience, and goes on", function()
    start():wait_owner()
    local half = peer.connect(e.control)
    half:write "stat"
    local odd = peer.connect(e.control)
    odd:write "make coffee\n"
    wait.until_true(function() odd:read() return odd.is_closed end)
    assert.matches('"error"', odd:take())
    local long = peer.connect(e.control)
    long:write(("x"):rep(10000))
    wait.until_true(function() long:read() return long.is_closed end)
    half:write "us\n"
    wait.until_true(function() half:read() return half.is_closed end)
    assert.matches('"group":"g"', half:take())
    add(1)
    e:wait_position("orders", "1-1")
  end)

  it("takes over the control socket that a killed engine left", function()
    start():wait_owner()
    local control = e.control
    e:kill()
    assert.is_truthy(peer.connect == nil or not pcall(peer.connect, control))
    server:call("DEL", e:key "lease")
    local other = e:another { arguments = { "--control", control } }
    e = other
    e:wait_owner()
    e.control = control
    assert.equal(e.process.pid, e:status().pid)
  end)

  it("writes JSON lines that parse, whatever a rule logs", function()
    start { rules = { ["log.lua"] = engine.rule [[
      ctx.log.info("quote \" newline \n tab \t", 12, nil, true)
      ctx.log.warn("\0\xff bytes")
      print("printed", event.n)]] } }
    add(1)
    e:wait_position("orders", "1-1")
    local line = e:wait_logged "rule_info_log"
    assert.same({ "info", "log" }, { line.level, line.rule })
    assert.is_truthy(line.message:find('quote " newline \n tab \t 12 nil true', 1, true), line.message)
    assert.equal("warn", e:wait_logged("rule_warn_log").level)
    for _, each in ipairs(e:logged()) do
      assert.matches("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$", each.time)
      assert.is_truthy(({ debug = true, info = true, warn = true, error = true })[each.level])
      assert.is_truthy(each.kind and each.message)
    end
  end)

  it("holds back what a rule repeats, and says how much", function()
    start { rules = { ["log.lua"] = engine.rule [[ctx.log.info("again")]] } }
    add(500)
    e:wait_position("orders", "1-500")
    e:wait_true(function()
      local lines, held = e:logged "rule_info_log", 0
      for _, line in ipairs(lines) do
        held = held + tonumber(line.held_back or 0)
      end
      return #lines + held >= 500
    end, 5, "all of 500 lines told or counted")
    assert.is_true(#e:logged "rule_info_log" <= 4)
  end)

  it("writes text lines: time, level, kind, message, key=value; and as few as asked for", function()
    start { log_format = "text", log_level = "warn" }
    add(1)
    e:wait_position("orders", "1-1")
    assert.equal("", e:log())
    e:stop()
    e = e:another { log_format = "text" }
    e:wait_true(function() return e:log():find("acquired", 1, true) end)
    assert.matches("^%d+%-%d+%-%d+T%d+:%d+:%d+%.%d+Z info  started  tidemill runs group=g rules=1\n", e:log())
  end)

  it("works over TCP, with a database and a password", function()
    server = redis.start { tcp = true, config = { "requirepass a@b:c/d", "databases 4" }, password = "a%40b%3Ac%2Fd" }
    start { url = ("redis://:a%%40b%%3Ac%%2Fd@127.0.0.1:%d/3"):format(server.port) }
    server:call("SELECT", 3)
    add(3)
    e:wait_position("orders", "1-3")
    assert.same({ n = 3 }, e:state("count", ""))
    e:stop()
    assert.is_nil(e:log():find("a@b", 1, true))
    assert.is_nil(e:log():find("a%40b", 1, true))
  end)

  it("goes on when Redis closes connections that are idle", function()
    server = redis.start { config = { "timeout 1" } }
    start():wait_owner()
    for n = 1, 3 do
      e:wait_true(function() return #e:logged "acquired" > n end, 8, "connections closed and made anew")
      pcall(server.call, server, "PING") -- the spec's own connection was closed as well
      add(n, n)
      e:wait_position("orders", "1-" .. n)
    end
    assert.same({ "1", "2", "3" }, server:call("LRANGE", "list", 0, -1))
  end)

  it("does next to nothing when idle", function()
    start()
    add(1)
    e:wait_position("orders", "1-1")
    e:wait_done()
    local cpu, began, commits = e:cpu_s(), wait.now(), e:ctl "commits"
    wait.until_true(function() return wait.now() - began > 2 end)
    assert.is_true(e:cpu_s() - cpu <= 0.04, "CPU " .. e:cpu_s() - cpu)
    assert.equal(commits, e:ctl "commits")
  end)
end)

describe("run --embedded", function()
  local folder, e

  before_each(function()
    folder = files.temp_folder()
    e = engine.start { is_embedded = true, rules = { ["count.lua"] = COUNT }, arguments = { "--embedded", folder .. "/data" } }
  end)

  after_each(function()
    e:kill()
  end)

  local function connect()
    e:wait_logged("embedded", 10)
    e.server = redis.connect("unix://" .. folder .. "/data/redis.sock")
    return e.server
  end

  local function server_pid()
    return tonumber(e.server:call("INFO", "server"):match "process_id:(%d+)")
  end

  local function is_alive(pid)
    return files.exists("/proc/" .. pid .. "/stat")
  end

  it("works on a private Redis, which ends with it and keeps its data", function()
    local client = connect()
    client:call("XADD", "orders", "1-1", "n", 1)
    e:wait_position("orders", "1-1")
    local pid = server_pid()
    e.process:signal "TERM"
    e:expect(0, 3)
    wait.until_true(function() return not is_alive(pid) end, 5, "its redis-server gone")
    client:close()
    e = e:another { is_embedded = true, arguments = { "--embedded", folder .. "/data" } }
    client = connect()
    client:call("XADD", "orders", "1-2", "n", 2)
    e:wait_position("orders", "1-2")
    assert.same({ n = 2 }, e:state("count", ""))
    assert.same({ "1", "2" }, client:call("LRANGE", "list", 0, -1))
    client:close()
  end)

  it("is killed: its Redis ends too", function()
    local client = connect()
    local pid = server_pid()
    client:close()
    e:kill()
    wait.until_true(function() return not is_alive(pid) end, 5, "its redis-server gone")
  end)

  it("without redis-server says what to install", function()
    e:kill()
    e = e:another { is_embedded = true, arguments = { "--embedded", folder .. "/other" }, env = { PATH = "/nonexistent" } }
    e:expect(1)
    assert.matches("cannot run redis%-server: is it installed%? %(apt%-get install redis%-server%)", e:log())
  end)
end)
