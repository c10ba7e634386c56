local ffi = require "ffi"
local codec = require "spec.support.codec"
local header = require "spec.support.header"
local C = header.load("src/batch/letter.h", "src/redis/parser.h", "src/base/arena.h")
local big = codec.big

-- The arguments of all commands in `bytes`.
local function commands(bytes)
  local parser, arena, reply = C.parser_create(), ffi.new("struct arena"), ffi.new("const struct reply *[1]")
  local list = {}
  C.parser_feed(parser, bytes, #bytes)
  while true do
    reply[0] = nil
    assert.equal(0, C.parser_next(parser, arena, reply, nil))
    if reply[0] == nil then break end
    local words = {}
    for i = 1, reply[0].count do
      local element = reply[0].elements[i - 1]
      assert.equal(tonumber(C.REPLY_STRING), tonumber(element.type))
      words[i] = ffi.string(element.text, element.len)
    end
    list[#list + 1] = words
  end
  assert.is_false(C.parser_has_more(parser), "half a command")
  C.parser_destroy(parser)
  C.arena_fini(arena)
  return list
end

-- A reply as an array of `texts`; false: nil from Redis. Kept alive by `keep`.
local function array(texts, keep)
  local elements = ffi.new("struct reply *[?]", math.max(#texts, 1))
  for i, text in ipairs(texts) do
    local element = ffi.new("struct reply")
    element.type = text and C.REPLY_STRING or C.REPLY_NIL
    if text then element.text, element.len = text, #text end
    elements[i - 1] = element
    keep[#keep + 1] = element
  end
  local reply = ffi.new("struct reply")
  reply.type, reply.count, reply.elements = C.REPLY_ARRAY, #texts, elements
  keep[#keep + 1], keep[#keep + 2], keep[#keep + 3] = elements, reply, texts
  return reply
end

local TEXTS = { "stream", "id", "rule", "version", "reason", "message", "traceback" }

-- The letter's XADD: words before the fields, then the fields as a table and their names in order.
local function append(fields, maxlen, out)
  local keep = {}
  local letter = ffi.new("struct letter")
  for _, name in ipairs(TEXTS) do letter[name] = fields[name] or "" end
  letter.key, letter.key_len = fields.key or "", #(fields.key or "")
  letter.payload, letter.payload_len = fields.payload or "", #(fields.payload or "")
  letter.size, letter.at_ms, letter.attempts = fields.size or 0, fields.at or 0, fields.attempts or 1
  for _, name in ipairs { "timer", "window" } do
    if fields[name] then letter[name], letter[name .. "_len"] = fields[name], #fields[name] end
  end
  if fields.event then letter.fields = array(fields.event, keep) end
  local own = not out
  out = out or ffi.new("struct buf")
  local before = tonumber(out.len)
  C.letter_append(out, "tidemill:g:dlq", maxlen or 0, letter)
  local list = commands(header.text(out):sub(before + 1))
  assert.equal(1, #list)
  if own then C.buf_fini(out) end
  local words, head, values, names = list[1], {}, {}, {}
  local at = 1
  while words[at - 1] ~= "*" do
    head[at] = words[at]
    at = at + 1
  end
  assert.equal(0, (#words - at + 1) % 2)
  for i = at, #words, 2 do
    assert.is_nil(values[words[i]], words[i] .. " twice")
    names[#names + 1], values[words[i]] = words[i], words[i + 1]
  end
  return values, names, head
end

-- What the field `event` holds: the strings of a msgpack array.
local function event(bytes)
  local list = assert(codec.tokens(bytes, 1, 1000000))
  assert.equal("a", list[1].type)
  assert.equal(#list - 1, list[1].len)
  local texts = {}
  for i = 2, #list do
    assert.equal("s", list[i].type)
    texts[i - 1] = list[i].value
  end
  return texts
end

local FULL = {
  event = { "data", "\x81\xa1a\1", "", "\0\xff" }, stream = "orders", id = "1795359845123-7", rule = "pricing", version = "3",
  reason = "error", message = 'rules/pricing.lua:7: attempt to index "x"\n', traceback = "rules/pricing.lua:7: in on_event",
  at = 1795359845999, attempts = 2, key = "\0user\r\n", payload = "$3\r\n\0\0\0",
}

describe("a dead letter", function()
  it("is one XADD with all fields of the design, and no other", function()
    local values, names, head = append(FULL)
    assert.same({ "XADD", "tidemill:g:dlq", "*" }, head)
    assert.same({ "event", "stream", "id", "rule", "version", "reason", "message", "traceback", "at", "attempts", "key", "payload" },
      names)
    for _, name in ipairs { "stream", "id", "rule", "version", "reason", "message", "traceback", "key", "payload" } do
      assert.equal(FULL[name], values[name], name)
    end
    assert.same({ "1795359845999", "2" }, { values.at, values.attempts })
    assert.same(FULL.event, event(values.event))
  end)

  it("has its fields empty when there is nothing to say", function()
    local values, names = append {}
    assert.equal(12, #names)
    for _, name in ipairs(names) do
      local want = name == "at" and "0" or name == "attempts" and "1" or ""
      assert.equal(want, values[name], name)
    end
  end)

  it("of an entry without fields has an empty array, without an entry nothing", function()
    assert.equal("\x90", append({ event = {} }).event)
    assert.equal("", append({}).event)
  end)

  it("of an entry over the limit has its size instead of it", function()
    local values, names = append { event = { "data", ("x"):rep(1000) }, size = 2 ^ 40 }
    assert.equal("", values.event)
    assert.equal("1099511627776", values.size)
    assert.equal(13, #names)
    assert.is_nil(append({ event = { "a", "b" } }).size)
  end)

  it("of a timer or a window names it behind its due time", function()
    local values, names = append { id = "17", timer = "remind\0x", key = "u1", payload = "\x01" }
    assert.equal(13, #names)
    assert.same({ "stream", "id", "timer", "rule" }, { names[2], names[3], names[4], names[5] })
    assert.same({ "17", "remind\0x", "", nil }, { values.id, values.timer, values.event, values.window })
    values, names = append { id = "17", window = "10-17", key = "u1", payload = "\x80" }
    assert.equal(13, #names)
    assert.same({ "10-17", nil }, { values.window, values.timer })
    assert.equal("", append({ timer = "" }).timer)
  end)

  it("is trimmed to about the number that is set", function()
    for _, case in ipairs { { 1, "1" }, { 100000, "100000" }, { 2 ^ 53, "9007199254740992" } } do
      local _, _, head = append(FULL, case[1])
      assert.same({ "XADD", "tidemill:g:dlq", "MAXLEN", "~", case[2], "*" }, head)
    end
    for _, none in ipairs { 0, -1 } do
      local _, _, head = append(FULL, none)
      assert.same({ "XADD", "tidemill:g:dlq", "*" }, head)
    end
  end)

  it("stands behind what is in the buffer", function()
    local out = ffi.gc(ffi.new("struct buf"), C.buf_fini)
    C.buf_append_text(out, "*1\r\n$4\r\nPING\r\n")
    append(FULL, 5, out)
    append({}, 0, out)
    local list = commands(header.text(out))
    assert.same({ 3, "PING", "XADD", "XADD" }, { #list, list[1][1], list[2][1], list[3][1] })
  end)

  it("says moments and attempts as they are", function()
    local values = append { at = 2 ^ 53, attempts = 4294967295 }
    assert.same({ "9007199254740992", "4294967295" }, { values.at, values.attempts })
  end)

  it("holds messages of any length", function()
    local long = ("m"):rep(300000)
    local values = append { message = long, traceback = long, key = long, payload = long, event = { long, long } }
    assert.is_true(values.message == long and values.traceback == long and values.key == long and values.payload == long)
    assert.is_true(event(values.event)[2] == long)
  end)
end)

describe("a raw entry", function()
  local function pack(texts)
    local out, keep = ffi.gc(ffi.new("struct buf"), C.buf_fini), {}
    C.letter_pack_fields(out, texts and array(texts, keep) or nil)
    return header.text(out)
  end

  it("is packed in the shortest form", function()
    for _, len in ipairs { 0, 1, 31, 32, 255, 256, 65535, 65536 } do
      local text = ("v"):rep(len)
      assert.equal("\x92\xa1f" .. codec.head("string", len) .. text, pack { "f", text })
    end
    for _, count in ipairs { 0, 2, 14, 16, 18, 65534, 65536 } do
      local texts = {}
      for i = 1, count do texts[i] = "t" end
      assert.equal(codec.head("array", count) .. ("\xa1t"):rep(count), pack(texts))
    end
    assert.equal("\xdc" .. big(16, 2), pack({ ("x"):rep(8), "", "", "", "", "", "", "", "", "", "", "", "", "", "", "" }):sub(1, 3))
  end)

  it("that is none is an empty array; what is no text in it is empty", function()
    assert.equal("\x90", pack(nil))
    assert.equal("\x92\xa1f\xa0", pack { "f", false })
    local out, reply = ffi.gc(ffi.new("struct buf"), C.buf_fini), ffi.new("struct reply")
    for _, kind in ipairs { "NIL", "INTEGER", "STRING", "ERROR" } do
      reply.type, reply.count = C["REPLY_" .. kind], 0
      C.buf_reset(out, 1000)
      C.letter_pack_fields(out, reply)
      assert.equal("\x90", header.text(out), kind)
    end
  end)
end)
