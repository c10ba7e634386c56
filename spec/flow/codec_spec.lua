-- Events in and tables out, byte for byte (design 3.2).
local codec = require "spec.support.codec"
local engine = require "spec.support.engine"
local redis = require "spec.support.redis"

local hex = codec.hex

describe("events", function()
  local server, e

  before_each(function() server = redis.start() end)

  after_each(function() e = engine.clear(server, e) end)

  -- Runs `body` over raw entries; returns what stands in `out`, unpacked, and the letters.
  local function run(body, entries, options)
    options = options or {}
    for i, fields in ipairs(entries) do
      server:call("XADD", "orders", "1-" .. i, unpack(fields))
    end
    options.server, options.rules = server, { ["a.lua"] = engine.rule(body, options.head) }
    e = engine.start(options)
    e:wait_position("orders", "1-" .. #entries)
    e:wait_done()
    return e:emitted "out", e:letters()
  end

  local function raw_out(i)
    return server:entries("out")[i].fields.data
  end

  it("auto: msgpack, JSON, and plain fields, told apart by each entry", function()
    local out, letters = run([[ctx.emit("out", event)]], {
      { "data", engine.pack { a = 1 } }, { "anything", '{"a":2}' }, { "a", "3" }, { "a", "4", "b", "{}" }, { "data", "text" },
      { "data", "" }, { "data", "[1]" }, { "a", "\x93\1\2\3" },
    })
    assert.same({}, letters)
    assert.same({ { a = 1 }, { a = 2 }, { a = "3" }, { a = "4", b = "{}" }, { data = "text" }, { data = "" }, { data = "[1]" },
      { a = "\x93\1\2\3" } }, out)
  end)

  it("auto: a sole value that starts like a map must decode", function()
    local _, letters = run([[ctx.emit("out", event)]], { { "data", "{not json" }, { "data", "\x8f" }, { "data", "\xde\0" } })
    assert.equal(3, #letters)
    for _, letter in ipairs(letters) do
      assert.equal("decode", letter.reason)
    end
  end)

  it("fields: never looks into values", function()
    local out = run([[ctx.emit("out", event)]], { { "data", '{"a":2}' }, { "data", "\x81" } },
      { settings = { streams = { orders = { codec = "fields" } } } })
    assert.same({ { data = '{"a":2}' }, { data = "\x81" } }, out)
  end)

  it("json: nested, unicode, null, empty arrays and objects", function()
    local out, letters = run([[ctx.emit("out", event)]], {
      { "x", '{"s":"\\u00e9\\ud83d\\ude00","n":null,"list":[1,null,"x",[],{}],"deep":{"a":{"b":[true,false]}},"f":-1.5e3}' },
    })
    assert.same({}, letters)
    assert.same({ s = "\xc3\xa9\xf0\x9f\x98\x80", list = { 1, "nil", "x", {}, {} }, deep = { a = { b = { true, false } } },
      f = -1500 }, out[1])
  end)

  it("comes back byte for byte: numbers, strings, binary, arrays, maps, ext, timestamps", function()
    local cases = {
      "81 a1 61 00", "81 a1 61 7f", "81 a1 61 ff", "81 a1 61 ce ff ff ff ff",
      "81 a1 61 cb 3f f8 00 00 00 00 00 00", "81 a1 61 c3", "81 a1 61 c2", "81 a1 61 a0", "81 a1 61 90", "81 a1 61 93 01 c0 03",
      "81 a1 61 80", "81 a1 61 d6 ff 00 00 00 01", "81 a1 61 d4 05 aa", "81 a1 61 c7 03 07 01 02 03",
      -- Beyond 2^53, up to both ends.
      "81 a1 61 d3 00 20 00 00 00 00 00 01", "81 a1 61 d3 7f ff ff ff ff ff ff ff", "81 a1 61 cf ff ff ff ff ff ff ff ff",
      "81 a1 61 d3 80 00 00 00 00 00 00 00", "81 a1 61 d3 ff df ff ff ff ff ff ff",
      "81 a1 61 a4 ff fe 00 01", "81 a1 61 91 91 91 91 a1 78",
    }
    local entries = {}
    for i, case in ipairs(cases) do
      entries[i] = { "data", hex(case) }
    end
    local out, letters = run([[ctx.emit("out", event)]], entries)
    assert.same({}, letters)
    assert.equal(#cases, #out)
    for i, case in ipairs(cases) do
      assert.equal((case:gsub(" ", "")), codec.to_hex(raw_out(i)))
    end
  end)

  it("comes back as the same number, where msgpack has several ways to write one", function()
    local out, letters = run([[ctx.emit("out", event)]], { { "data", hex "81 a1 61 cf 00 20 00 00 00 00 00 01" },
      { "data", hex "81 a1 61 cf 7f ff ff ff ff ff ff ff" }, { "data", hex "81 a1 61 d1 80 00" },
      { "data", hex "81 a1 61 cf 00 00 00 00 00 00 00 05" }, { "data", hex "81 a1 61 ca 3f 80 00 00" } })
    assert.same({}, letters)
    assert.same({ { a = "int64 9007199254740993" }, { a = "int64 9223372036854775807" }, { a = -32768 }, { a = 5 }, { a = 1 } }, out)
  end)

  it("also through a state that is kept over a restart", function()
    local bytes = hex "81 a1 61 93 cf ff ff ff ff ff ff ff ff c0 d4 05 aa"
    server:call("XADD", "orders", "1-1", "data", bytes)
    e = engine.start { server = server, rules = { ["a.lua"] = engine.rule([[
      if event.a then ctx.state.kept = event.a else ctx.emit("out", { a = ctx.state.kept }) end]]) } }
    e:wait_position("orders", "1-1")
    e:stop()
    e = e:another()
    server:call("XADD", "orders", "1-2", "b", "1")
    e:wait_position("orders", "1-2")
    assert.equal(codec.to_hex(bytes), codec.to_hex(raw_out(1)))
  end)

  it("integers beyond 2^53: decimal text, comparison, and keys", function()
    local out, letters = run([[
      local tidemill = require "tidemill"
      ctx.emit("out", { text = tostring(event.id), joined = "#" .. event.id, key = ctx.key, same = event.id == event.id,
        absent = event.id == nil or event.id == false or nil == event.id,
        less = event.id < event.other, id = event.id })
      ctx.state.id = event.id]], {
      { "data", hex "82 a2 6964 cf 00 20 00 00 00 00 00 01 a5 6f74686572 cf 00 20 00 00 00 00 00 02" },
      { "data", '{"id":18446744073709551615,"other":1}' },
    }, { head = 'stream = "orders", key = "id"' })
    assert.same({}, letters)
    assert.same({ text = "9007199254740993", joined = "#9007199254740993",
      key = "9007199254740993", same = true, less = true, absent = false,
      id = "int64 9007199254740993" }, out[1])
    assert.same({ text = "18446744073709551615", joined = "#18446744073709551615",
      key = "18446744073709551615", same = true, absent = false,
      less = false, id = "int64 18446744073709551615" }, out[2])
    assert.same({ id = "int64 9007199254740993" }, e:state("a", "9007199254740993"))
  end)

  it("number keys are decimal strings", function()
    run([[ctx.state.n = (ctx.state.n or 0) + 1]], { { "data", engine.pack { k = 7 } }, { "k", "7" }, { "data", '{"k":7.0}' },
      { "data", '{"k":-1}' }, { "data", '{"k":1000000}' }, { "data", '{"k":0.5}' } }, { head = 'stream = "orders", key = "k"' })
    assert.same({ n = 3 }, e:state("a", "7"))
    assert.same({ n = 1 }, e:state("a", "-1"))
    assert.same({ n = 1 }, e:state("a", "1000000"))
    assert.same({ n = 1 }, e:state("a", "0.5"))
  end)

  it("null and array: what tidemill gives a rule", function()
    local out, letters = run([[
      local tidemill = require "tidemill"
      ctx.emit("out", { list = tidemill.array {}, map = {}, null = { tidemill.null }, is_null = event.list[2] == tidemill.null,
        absent = event.gone == nil, len = #event.list })]], { { "data", '{"list":[1,null,3],"gone":null}' } })
    assert.same({}, letters)
    assert.equal("nil", out[1].null[1])
    assert.same({ true, true, 3 }, { out[1].is_null, out[1].absent, out[1].len })
    local bytes = codec.to_hex(raw_out(1))
    assert.is_truthy(bytes:find(codec.to_hex "\xa4list\x90", 1, true), bytes)
    assert.is_truthy(bytes:find(codec.to_hex "\xa3map\x80", 1, true), bytes)
  end)

  it("each rule has its own table of the event", function()
    server:call("XADD", "orders", "1-1", "data", engine.pack { list = { 1 }, n = 1 })
    e = engine.start { server = server, rules = {
      ["a.lua"] = engine.rule([[event.n = 99 event.list[1] = 99 event.new = 1]]),
      ["b.lua"] = engine.rule([[ctx.emit("out", event)]]),
    } }
    e:wait_position("orders", "1-1")
    e:wait_done()
    assert.same({ { n = 1, list = { 1 } } }, e:emitted "out")
  end)

  it("of any bytes never stop the engine", function()
    local seed = tonumber(os.getenv "TIDEMILL_SEED") or os.time()
    math.randomseed(seed)
    local commands = {}
    for n = 1, 5000 do
      local bytes = {}
      for i = 1, math.random(0, 40) do
        bytes[i] = string.char(math.random(0, 255))
      end
      local head = ({ "", "{", "\x81", "\x8f", "\xde\0\1", "\x81\xa1a", '{"a":' })[math.random(7)]
      commands[n] = { "XADD", "orders", "1-" .. n, "data", head .. table.concat(bytes) }
    end
    server:pipeline(commands)
    e = engine.start { server = server, rules = { ["a.lua"] = engine.rule [[ctx.emit("out", event)]] } }
    e:wait_position("orders", "1-5000")
    e:wait_done()
    assert.equal(5000, server:call("XLEN", "out") + server:call("XLEN", e:key "dlq"), "seed " .. seed)
  end)

  it("an entry with no name for its field, an empty value, many fields", function()
    local many = {}
    for i = 1, 400 do
      many[#many + 1] = "f" .. i
      many[#many + 1] = "v" .. i
    end
    local out, letters = run([[
      local n = 0
      for _ in pairs(event) do n = n + 1 end
      ctx.emit("out", { n = n, first = event.f1, empty = event[""] })]], { { "", "x" }, many, { "a", "1", "a", "2" } })
    assert.same({}, letters)
    assert.same({ { n = 1, empty = "x" }, { n = 400, first = "v1" }, { n = 1 } }, out)
  end)
end)
