local ffi = require "ffi"
local files = require "spec.support.files"
local link = require "spec.support.link"
local peer = require "spec.support.peer"
local redis = require "spec.support.redis"
local wait = require "spec.support.wait"

local C = link.C
local FATAL, CONNECTION, TIMEOUT, REPLY, FORMAT = tonumber(C.ERROR_FATAL_REPLY),
  tonumber(C.ERROR_CONNECTION),
  tonumber(C.ERROR_TIMEOUT), tonumber(C.ERROR_REPLY), tonumber(C.ERROR_FORMAT)

-- Short timeouts, so that a spec that waits for one is short as well.
local QUICK = { connect_timeout_ms = 300, timeout_ms = 300, backoff_least_ms = 5,
  backoff_most_ms = 40 }

-- Everything that a spec opens is closed after it, also when it fails.
local opened = {}

local function drive(url, options)
  local driver = link.driver(url, options or QUICK)
  table.insert(opened, driver)
  return driver
end

local function listen()
  local p = peer.listen()
  table.insert(opened, p)
  return p
end

local function close_all()
  for i = #opened, 1, -1 do
    opened[i]:close()
  end
  opened = {}
end

-- Turns the loop until the peer has a new connection, and returns it.
local function accept(driver, p)
  return driver:turn_until(function() return p:accept() end, 5, "a connection")
end

-- … and the greeting is answered.
local function accept_and_greet(driver, p, version)
  local c = accept(driver, p)
  driver:turn_until(function() return c:read():find("INFO", 1, true) end, 5, "the greeting")
  c:take()
  c:write(peer.greeting(version))
  return c
end

local function last_down(driver)
  return driver.downs[#driver.downs]
end

local function says(driver, code, words)
  assert.equal(code, last_down(driver).code, last_down(driver).text)
  assert.truthy(last_down(driver).text:find(words, 1, true), last_down(driver).text)
end

describe("a link to a real Redis", function()
  local server

  setup(function()
    server = redis.start { tcp = true, config = { "databases 4", "user ann on >pass%word ~* +@all",
      "user bob on >pw ~* +@all -info", "user eve on >pw ~* +@all -client|setname",
        "user kim on >pw ~* +@all -select" } }
  end)
  teardown(function() server:stop() end)
  after_each(close_all)

  it("is made over a unix socket, with its name and database", function()
    local driver = drive(server:url("?db=3")):open()
    driver:turn_until_up()
    assert.equal(1, driver.ups)
    local me = driver:call("CLIENT", "INFO")
    assert.truthy(me:find(" name=spec ", 1, true) and me:find(" db=3 ", 1, true), me)
    assert.equal(0x070000,
      C.link_redis_version(driver.handle) - C.link_redis_version(driver.handle) % 0x10000)
  end)

  for _, host in ipairs { "127.0.0.1", "[::1]", "localhost" } do
    it("is made over TCP to " .. host, function()
      if host == "[::1]" and not (files.read_file("/proc/net/if_inet6") or ""):find("lo", 1,
        true) then
        pending("this machine has no IPv6")
      end
      local driver = drive(server:tcp_url("/2", nil, host)):open()
      driver:turn_until_up()
      assert.equal("PONG", driver:call("PING"))
    end)
  end

  it("logs in as a user", function()
    local driver = drive(server:url("", "ann:pass%25word@")):open()
    driver:turn_until_up()
    assert.equal("ann", driver:call("ACL", "WHOAMI"))
  end)

  it("ends at a wrong password, says so once, and tries no more", function()
    local driver = drive(server:url("", "ann:wrong@")):open()
    driver:turn_until_down()
    says(driver, FATAL, "password of user 'ann'")
    driver:turn(200)
    assert.same({ 1, 0, false }, { #driver.downs, driver.ups, driver:is_up() })
    driver:open() -- a person has done something about it
    driver:turn_until_down(2)
  end)

  it("ends at a missing permission and names the rule that grants it", function()
    local bob = drive(server:url("", "bob:pw@")):open()
    bob:turn_until_down()
    says(bob, FATAL, "ACL SETUSER bob +info")
    local kim = drive(server:url("?db=1", "kim:pw@")):open()
    kim:turn_until_down()
    says(kim, FATAL, "ACL SETUSER kim +select")
  end)

  it("does without its name where that is not permitted", function()
    local driver = drive(server:url("", "eve:pw@")):open()
    driver:turn_until_up()
    assert.equal("PONG", driver:call("PING"))
  end)

  it("ends at a database that is not there", function()
    local driver = drive(server:url("?db=9")):open()
    driver:turn_until_down()
    says(driver, FATAL, "no database 9")
  end)

  it("answers in the order of the questions, errors among them", function()
    local driver = drive(server:url()):open()
    driver:turn_until_up()
    for i = 1, 2000 do
      driver:append(i % 100 == 0 and { "NOSUCH" } or { "ECHO", tostring(i) })
    end
    driver:flush()
    driver:turn_until_replies(2000)
    for i = 1, 2000 do
      assert.truthy(driver.replies[i]:find(i % 100 == 0 and "^ERR unknown command"
        or "^" .. i .. "$"))
    end
  end)

  it("builds replies in the arena that was given, and they stay", function()
    local driver = drive(server:url()):open()
    driver:turn_until_up()
    local arena = ffi.gc(ffi.new("struct arena"), C.arena_fini)
    driver:append({ "ECHO", "kept" }, arena)
    driver:flush()
    driver:turn_until_replies(1)
    local kept = driver.last_reply
    assert.truthy(arena.used_bytes > 0)
    local used = arena.used_bytes
    for _ = 1, 100 do
      driver:call("ECHO", ("x"):rep(1000))
    end
    assert.equal(used, arena.used_bytes)
    assert.equal("kept", ffi.string(kept.text))
  end)

  it("takes large replies and sends large commands", function()
    local driver = drive(server:url(), { timeout_ms = 5000 }):open()
    driver:turn_until_up()
    local big = ("0123456789abcdef"):rep(1024 * 1024) -- 16 MiB
    assert.equal("OK", driver:call("SET", "big", big))
    assert.is_true(driver:call("GET", "big") == big)
    for i = 1, 20000 do
      driver:append { "XADD", "large", i .. "-1", "data", ("x"):rep(90) }
    end
    driver:flush()
    driver:turn_until_replies(20002, 20)
    local entries = driver:call("XRANGE", "large", "-", "+")
    assert.equal(20000, #entries)
    assert.same({ "20000-1", { "data", ("x"):rep(90) } }, entries[20000])
  end)

  it("waits longer where it was told so", function()
    local driver = drive(server:url(), { timeout_ms = 150 }):open()
    driver:turn_until_up()
    driver:append({ "XREAD", "BLOCK", "500", "STREAMS", "nothing", "$" }, nil, 2000)
    driver:flush()
    driver:turn_until_replies(1)
    assert.same({ false }, driver.replies)
    assert.equal(0, #driver.downs)
    driver:append({ "XREAD", "BLOCK", "1000", "STREAMS", "nothing", "$" })
    driver:flush()
    driver:turn_until_down()
    says(driver, TIMEOUT, "no answer for 150 ms")
  end)

  it("counts the patience of each question from when it became the first", function()
    local driver = drive(server:url(), { timeout_ms = 400 }):open()
    driver:turn_until_up()
    for _ = 1, 4 do
      driver:append { "BLPOP", "nothing", "0.25" }
    end
    driver:flush()
    driver:turn_until_replies(4)
    assert.equal(0, #driver.downs)
  end)

  it("tells a name that cannot be found, and keeps trying", function()
    local driver = drive("redis://no-such-host.invalid:1"):open()
    driver:turn_until_down(2)
    says(driver, CONNECTION, "cannot find the host")
  end)

  it("may go while its host is still looked up", function()
    for _ = 1, 5 do
      local driver = drive("redis://no-such-host.invalid:1"):open()
      driver:destroy_link()
    end
    wait.sleep(0.05) -- the helper threads end with nobody to tell
  end)

  it("may be destroyed, closed and opened inside its callbacks", function()
    local driver = drive(server:url())
    driver.hooks.up = function() driver:destroy_link() end
    driver:open()
    driver:turn_until(function() return driver.ups == 1 end)

    local other = drive(server:url()):open()
    other:turn_until_up()
    other.hooks.reply = function() other:destroy_link() end
    for _ = 1, 10 do
      other:append { "PING" }
    end
    other:flush()
    other:turn_until_replies(1)
    other:turn(20)
    assert.equal(1, #other.replies)

    local third = drive(server:url("", "ann:wrong@"))
    third.hooks.down = function() third:destroy_link() end
    third:open()
    third:turn_until_down()
  end)

  it("delivers nothing more once it is closed inside a callback", function()
    local driver = drive(server:url()):open()
    driver:turn_until_up()
    driver.hooks.reply = function(value)
      if value == "3" then
        C.link_close(driver.handle)
        driver:open()
      end
    end
    for i = 1, 10 do
      driver:append { "ECHO", tostring(i) }
    end
    driver:flush()
    driver:turn_until(function() return driver.ups == 2 end)
    driver:turn(20)
    assert.same({ "1", "2", "3" }, driver.replies)
    assert.equal(0, #driver.downs)
    assert.equal("again", driver:call("ECHO", "again"))
  end)
end)

describe("a link to a Redis that comes and goes", function()
  local server
  after_each(function()
    close_all()
    if server then
      server:stop()
    end
    server = nil
  end)

  it("waits for one that is not there yet", function()
    server = redis.start()
    server:shutdown()
    local driver = drive(server:url()):open()
    driver:turn_until_down(3)
    says(driver, CONNECTION, "cannot connect to Redis at unix://" .. server.socket)
    server:launch()
    driver:turn_until_up()
  end)

  it("waits longer and longer", function()
    local options = { backoff_least_ms = 10, backoff_most_ms = 1000 }
    local driver = drive("unix:///tmp/tidemill-no-such-socket", options):open()
    driver:turn(900)
    -- 10, 20, 40 … at most, and at least half of that.
    assert.truthy(#driver.downs >= 5 and #driver.downs <= 9, #driver.downs)
  end)

  it("is told of a refused TCP connection at once", function()
    local driver = drive("redis://127.0.0.1:" .. redis.free_port()):open()
    driver:turn_until_down(1, 0.2)
    says(driver, CONNECTION, "Connection refused")
  end)

  it("breaks once when Redis dies, delivers nothing of before, and comes back", function()
    server = redis.start()
    local driver = drive(server:url()):open()
    driver:turn_until_up()
    driver:append({ "BLPOP", "nothing", "0" }, nil, 60000)
    driver:append({ "ECHO", "before" })
    driver:flush()
    driver:turn(20)
    assert.equal(2, driver:waiting())
    local is_up_inside
    driver.hooks.down = function() is_up_inside = driver:is_up() end
    server:kill()
    driver:turn_until_down()
    says(driver, CONNECTION, "lost the connection")
    assert.same({ false, 0 }, { is_up_inside, driver:waiting() })
    server:launch()
    driver:turn_until_up()
    assert.equal("after", driver:call("ECHO", "after"))
    assert.same({ "after" }, driver.replies)
    assert.equal(2, driver.ups)
  end)

  it("breaks for one that falls silent, while the loop and other links go on", function()
    server = redis.start()
    local healthy = redis.start()
    table.insert(opened, { close = function() healthy:stop() end })
    local driver = drive(server:url()):open()
    local other = drive(healthy:url(), { loop = driver }):open()
    driver:turn_until(function() return driver:is_up() and other:is_up() end)
    server:pause()
    local began = wait.now()
    driver:ask("PING")
    while #driver.downs == 0 do
      other:call("PING")
      assert.truthy(wait.now() - began < 2, "the timeout never came")
    end
    says(driver, TIMEOUT, "no answer for 300 ms")
    assert.truthy(wait.now() - began >= 0.29)
    assert.truthy(#other.replies > 20, "the loop stood still")
    driver:turn_until_down(2) -- connects, but is not greeted
    says(driver, TIMEOUT, "it takes connections but does not answer after 300 ms")
    server:resume()
    driver:turn_until_up()
    assert.equal("late", driver:call("ECHO", "late"))
    assert.same({ "late" }, driver.replies)
  end)

  it("is up while Redis loads, and hands its errors to the owner", function()
    server = redis.start()
    for i = 1, 3000 do
      server:call("SET", "key" .. i, ("x"):rep(50))
    end
    server:call("SAVE")
    server:shutdown()
    server:configure { "key-load-delay 200", "loading-process-events-interval-bytes 1024" }
    server.options.wait = false
    server:launch()
    local driver = drive(server:url()):open()
    driver:turn_until_up()
    assert.matches("^LOADING ", driver:call("GET", "key1"))
    server:wait_ready()
    assert.equal(50, #driver:call("GET", "key1"))
  end)

  it("comes back to one that is busy with a script", function()
    server = redis.start { config = { "busy-reply-threshold 20" } }
    local runner = drive(server:url(), { timeout_ms = 20000 }):open()
    runner:turn_until_up()
    runner:ask("EVAL", "local n = 0 while n >= 0 do n = n + 1 end", "0")
    local driver = drive(server:url(), { loop = runner, backoff_least_ms = 5,
      connect_timeout_ms = 2000 }):open()
    driver:turn_until_down()
    says(driver, REPLY, "BUSY")
    local client = peer.connect(server.socket)
    client:write("SCRIPT KILL\r\n")
    driver:turn_until_up()
    client:close()
  end)
end)

describe("a link to a peer that misbehaves", function()
  after_each(close_all)

  it("takes replies in any pieces", function()
    local p = listen()
    local driver = drive(p.url):open()
    local c = accept_and_greet(driver, p)
    driver:turn_until_up()
    driver:ask("A")
    driver:ask("B")
    local bytes = "*2\r\n$5\r\nhello\r\n*2\r\n:1\r\n$-1\r\n-ERR b\r\n"
    for i = 1, #bytes do
      c:write(bytes:sub(i, i))
      driver:turn(1)
    end
    driver:turn_until_replies(2)
    assert.same({ { "hello", { 1, false } }, "ERR b" }, driver.replies)
  end)

  it("does not give up on a reply that trickles in", function()
    local p = listen()
    local driver = drive(p.url, { timeout_ms = 150 }):open()
    local c = accept_and_greet(driver, p)
    driver:turn_until_up()
    driver:ask("A")
    local bytes = "$10\r\n0123456789\r\n"
    for i = 1, #bytes do
      c:write(bytes:sub(i, i))
      driver:turn(30)
    end
    driver:turn_until_replies(1)
    assert.equal(0, #driver.downs)
  end)

  it("delivers nothing of a reply that breaks off, nor what an old connection still says",
    function()
    local p = listen()
    local driver = drive(p.url):open()
    local old = accept_and_greet(driver, p)
    driver:turn_until_up()
    driver:ask("A")
    driver:ask("B")
    old:write("+one\r\n*3\r\n:1\r\n:2\r\n")
    driver:turn_until_replies(1)
    C.link_close(driver.handle)
    driver:open()
    old:write(":3\r\n+stale\r\n")
    local new = accept_and_greet(driver, p)
    driver:turn_until_up()
    driver:ask("C")
    old:write("+stale\r\n")
    driver:turn(20)
    new:write("+fresh\r\n")
    driver:turn_until_replies(2)
    assert.same({ "one", "fresh" }, driver.replies)
  end)

  it("gives what came before the end of the stream, then breaks", function()
    local p = listen()
    local driver = drive(p.url):open()
    local c = accept_and_greet(driver, p)
    driver:turn_until_up()
    driver:ask("A")
    driver:ask("B")
    driver:turn_until(function() return c:read():find("B", 1, true) end)
    c:write("+one\r\n$100\r\nhalf")
    c:close()
    driver:turn_until_down()
    says(driver, CONNECTION, "it closed the connection")
    assert.same({ "one" }, driver.replies)
  end)

  it("finds a dead socket while writing without dying of it, and tells from the loop", function()
    local p = listen()
    local driver = drive(p.url):open()
    local c = accept_and_greet(driver, p)
    driver:turn_until_up()
    c:close()
    driver:ask("A")
    driver:ask("B")
    assert.same({ 0, true }, { #driver.downs, driver:is_up() })
    driver:ask("C") -- the owner does not know yet: nothing happens
    driver:turn_until_down()
    assert.equal(1, #driver.downs)
    assert.same({}, driver.replies)
    assert.equal(0, driver:waiting())
  end)

  it("breaks at nonsense, at answers nobody asked for, and at nesting without end", function()
    local p = listen()
    local driver = drive(p.url):open()
    for i, bytes in ipairs { "what?\r\n", "+one\r\n+two\r\n", ("*1\r\n"):rep(100),
      "*2147483647\r\n" } do
      local c = accept_and_greet(driver, p)
      driver:turn_until_up()
      driver:ask("A")
      c:write(bytes)
      driver:turn_until_down(i)
      says(driver, FORMAT, "cannot understand Redis at")
    end
  end)

  it("ends at a Redis that is too old, with the version it found", function()
    local p = listen()
    local driver = drive(p.url):open()
    accept_and_greet(driver, p, "6.2.4")
    driver:turn_until_down()
    says(driver, FATAL, "is version 6.2.4")
  end)

  it("comes back to one that was loading in the greeting", function()
    local p = listen()
    local driver = drive(p.url):open()
    local c = accept(driver, p)
    c:write("+OK\r\n-LOADING Redis is loading the dataset in memory\r\n")
    driver:turn_until_down()
    says(driver, REPLY, "LOADING")
    accept_and_greet(driver, p)
    driver:turn_until_up()
  end)

  it("does not wait for ever for one that accepts and says nothing", function()
    local p = listen()
    local driver = drive(p.url):open()
    local began = wait.now()
    local c = accept(driver, p)
    driver:turn_until_down()
    says(driver, TIMEOUT, "does not answer after 300 ms")
    assert.truthy(wait.now() - began < 1)
    driver:turn(1)
    c:read()
    assert.is_true(c.is_closed)
  end)

  it("keeps what it cannot write yet, and writes it in order when there is room", function()
    local p = listen()
    local driver = drive(p.url, { timeout_ms = 5000 }):open()
    local c = accept_and_greet(driver, p)
    driver:turn_until_up()
    local sent = {}
    for i = 1, 200 do
      local value = ("%04d"):format(i):rep(2500)
      sent[i] = ("*1\r\n$%d\r\n%s\r\n"):format(#value, value)
      driver:append { value }
      if i % 7 == 0 then
        driver:flush()
        driver:turn(0)
      end
    end
    driver:flush()
    local whole, got = table.concat(sent), {}
    local count = 0
    driver:turn_until(function()
      local piece = c:take()
      got[#got + 1] = piece
      count = count + #piece
      return count >= #whole
    end)
    assert.is_true(table.concat(got) == whole)
    assert.equal(0, #driver.downs)
  end)

  it("breaks when its reader stops reading for good", function()
    local p = listen()
    local driver = drive(p.url):open()
    accept_and_greet(driver, p)
    driver:turn_until_up()
    driver:ask(("x"):rep(4 * 1024 * 1024))
    driver:turn_until_down()
    says(driver, TIMEOUT, "no answer for 300 ms")
  end)
end)
