local files = require "spec.support.files"
local program = require "spec.support.program"
local redis = require "spec.support.redis"
local wait = require "spec.support.wait"

describe("tidemill send", function()
  local server

  setup(function()
    server = redis.start()
  end)
  teardown(function()
    server:stop()
  end)
  before_each(function()
    server:call("FLUSHALL")
  end)

  local function send(input, ...)
    local code, out, err = program.run({ "send", "s", ... },
      { input = input, env = { REDIS_URL = server:url() } })
    assert.equal("", out)
    return code, err
  end

  local function sent(field)
    local values = {}
    for i, entry in ipairs(server:entries("s")) do
      values[i] = field and entry.fields[field] or entry.fields
    end
    return values
  end

  it("adds one entry a line, as msgpack in the field data", function()
    local code, err = send '{"a":1,"b":"x"}\n{"big":9007199254740993,"list":[true,null]}\n'
    assert.same({ 0, "" }, { code, err })
    assert.same({ "\x82\xa1a\x01\xa1b\xa1x",
      "\x82\xa3big\xcf\0\x20\0\0\0\0\0\1\xa4list\x92\xc3\xc0" }, sent "data")
  end)

  it("adds JSON text as it stands, and names the field as asked", function()
    assert.equal(0, send('  {"a": 1.50}  \r\n', "--codec", "json", "--field", "event"))
    assert.same({ '{"a": 1.50}' }, sent "event")
  end)

  it("adds members as fields", function()
    assert.equal(0, send([[{"s":"a\"b\nü\u00e9😀","n":-1.50,"big":123456789012345678901,"t":true,]]
      .. [["z":null,"o":{"x":[1, "}"]},"":"","k\n":"v"}]],
      "--codec", "fields"))
    assert.same({ { s = 'a"b\nüé😀', n = "-1.50", big = "123456789012345678901", t = "true",
      o = '{"x":[1, "}"]}',
      [""] = "", ["k\n"] = "v" } }, sent())
    local code, err = send('{"z":null}\n{}\n', "--codec", "fields")
    assert.equal(1, code)
    assert.equal(("tidemill: line %d: an entry needs at least one field\n"):rep(2):format(1, 2),
      err)
  end)

  it("names bad lines and goes on", function()
    local code, err = send '{"a":1}\n{"a":}\n\n   \n[1]\n5\n{"a":2}\n{"a":3'
    assert.equal(1, code)
    assert.matches("tidemill: line 2: at byte 5: ", err)
    assert.matches("tidemill: line 5: an event is a JSON object, {...}", err, 1, true)
    assert.matches("tidemill: line 6: an event is", err)
    assert.matches("tidemill: line 8: at byte ", err)
    assert.equal(2, #sent())
  end)

  it("stops at the first bad line when it is --strict, and has sent those before", function()
    local code, err = send('{"a":1}\nx\n{"a":2}\n', "--strict")
    assert.equal(1, code)
    assert.equal("tidemill: line 2: an event is a JSON object, {...}\n", err)
    assert.equal(1, #sent())
  end)

  it("reads a file, and names it with its line", function()
    local path = files.temp_folder() .. "/events.jsonl"
    files.write_file(path, '{"a":1}\nnope\n')
    local code, err = send(nil, path)
    assert.equal(1, code)
    assert.equal(("tidemill: %s:2: an event is a JSON object, {...}\n"):format(path), err)
    code, err = send(nil, "/nowhere/events")
    assert.equal(1, code)
    assert.equal("tidemill: cannot open /nowhere/events: No such file or directory\n", err)
    assert.equal(0, send('{"a":1}', "-"))
    assert.equal(2, #sent())
  end)

  it("sends many lines in order, whatever their size", function()
    local lines = {}
    for i = 1, 12345 do
      lines[i] = ('{"i":%d,"pad":"%s"}'):format(i, ("x"):rep(i % 97 == 0 and 50000 or i % 13))
    end
    assert.equal(0, (send(table.concat(lines, "\n"), "--codec", "fields")))
    local got = sent "i"
    assert.equal(#lines, #got)
    for i = 1, #lines do
      assert.equal(tostring(i), got[i])
    end
  end)

  it("keeps the stream short with --maxlen", function()
    assert.equal(0, (send(('{"a":1}\n'):rep(5000), "--maxlen", "1000")))
    local len = server:call("XLEN", "s")
    assert.is_true(len >= 1000 and len <= 1200, tostring(len))
  end)

  it("passes over a line that is too long, in bounded memory", function()
    local code, err = send('{"a":1}\n' .. '{"a":"' .. ("x"):rep(40 * 1024 * 1024)
      .. '"}\n{"a":2}\n')
    assert.equal(1, code)
    assert.equal("tidemill: line 2: longer than 16 MB\n", err)
    assert.equal(2, #sent())
  end)

  it("ends at an error of Redis, with the line and the number sent before", function()
    server:call("SET", "s", "no stream")
    local code, err = send '{"a":1}\n{"a":2}\n'
    assert.equal(1, code)
    assert.matches(
      "^tidemill: line 1: Redis refused it: WRONGTYPE .*%(0 events were sent before%)\n$", err)
  end)

  it("ends when Redis is out of memory", function()
    server:call("CONFIG", "SET", "maxmemory", "3mb")
    local code, err = send(('{"a":"%s"}\n'):format(("x"):rep(1000)):rep(20000))
    server:call("CONFIG", "SET", "maxmemory", "0")
    assert.equal(1, code)
    local told = "line (%d+): Redis refused it: OOM .*%((%d+) events were sent before%)"
    local line, count = err:match(told)
    assert.is_truthy(line, err)
    assert.equal(server:call("XLEN", "s"), tonumber(count))
    assert.is_true(tonumber(count) > 100 and tonumber(count) >= tonumber(line) - 1)
  end)

  it("says why when there is no Redis, or the URL is wrong", function()
    local code, _, err = program.run({ "send", "s", "--redis", "unix:///nowhere/redis.sock" },
      { input = "{}" })
    assert.equal(1, code)
    assert.matches("unix:///nowhere/redis.sock", err, 1, true)
    code, _, err = program.run({ "send", "s", "--redis", "http://x" }, { input = "{}" })
    assert.equal(2, code)
    assert.matches("^tidemill: ", err)
  end)

  it("passes on what a pipe brings at once, and tells the count when interrupted", function()
    local fifo = files.temp_folder() .. "/fifo"
    os.execute("mkfifo " .. fifo)
    local p = program.start({ "send", "s", fifo }, { env = { REDIS_URL = server:url() } })
    local pipe = assert(io.open(fifo, "w"))
    for i = 1, 3 do
      pipe:write('{"a":', i, "}\n")
      pipe:flush()
      wait.until_equal(i, function()
        return server:call("XLEN", "s")
      end)
    end
    p:signal("INT")
    assert.same({ code = 130 }, p:wait())
    pipe:close()
  end)

  it("tells how fast it was, on a terminal", function()
    local _, out =
      program.shell([[script -qec "printf '{}\n{}\nx\n' | $tidemill send s" /dev/null]],
      { env = { REDIS_URL = server:url() } })
    assert.matches("2 events sent to s in %d+%.%d s %(%d+ a second%), 1 bad lines? left out", out)
  end)
end)
