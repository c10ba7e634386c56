local ffi = require "ffi"
local header = require "spec.support.header"
local C = header.load("src/redis/parser.h", "src/base/arena.h")

local NAMES = { [tonumber(C.REPLY_STRING)] = "string", [tonumber(C.REPLY_STATUS)] = "status",
  [tonumber(C.REPLY_ERROR)] = "error", [tonumber(C.REPLY_INTEGER)] = "integer",
  [tonumber(C.REPLY_NIL)] = "nil", [tonumber(C.REPLY_ARRAY)] = "array" }

-- A reply as a Lua value that tells all: { "string", "text" }, { "integer", 3 }, { "array", … }.
local function tree(reply)
  local name = NAMES[tonumber(reply.type)]
  if name == "array" then
    local out = { name }
    for i = 0, reply.count - 1 do
      out[i + 2] = tree(reply.elements[i])
    end
    return out
  elseif name == "integer" then
    return { name, tonumber(reply.integer) }
  elseif name == "nil" then
    return { name }
  end
  assert.equal(0, reply.text[reply.len], "no NUL behind the text")
  return { name, ffi.string(reply.text, reply.len) }
end

-- Feeds `bytes` in pieces of `size`; returns the trees, the sentence of a failure, and whether a
-- rest is left.
local function parse(bytes, size)
  local parser, arena, why = C.parser_create(), ffi.new("struct arena"), ffi.new("struct error")
  local trees, failure = {}, nil
  for at = 1, #bytes, size or #bytes do
    local piece = bytes:sub(at, at + (size or #bytes) - 1)
    C.parser_feed(parser, piece, #piece)
    local reply = ffi.new("const struct reply *[1]")
    repeat
      reply[0] = nil
      if C.parser_next(parser, arena, reply, why) ~= 0 then
        failure = ffi.string(why.text)
      elseif reply[0] ~= nil then
        trees[#trees + 1] = tree(reply[0])
      end
    until failure or reply[0] == nil
    if failure then
      break
    end
  end
  local has_more = C.parser_has_more(parser)
  C.parser_destroy(parser)
  C.arena_fini(arena)
  return trees, failure, has_more
end

-- One reply, alive until the next call.
local held = {}
local function reply_of(bytes)
  if held.parser then
    C.parser_destroy(held.parser)
    C.arena_fini(held.arena)
  end
  held = { parser = C.parser_create(), arena = ffi.new("struct arena") }
  local out = ffi.new("const struct reply *[1]")
  C.parser_feed(held.parser, bytes, #bytes)
  assert(C.parser_next(held.parser, held.arena, out, nil) == 0 and out[0] ~= nil)
  return out[0]
end

local function bulk(text)
  return ("$%d\r\n%s\r\n"):format(#text, text)
end

local mixed = "*6\r\n:42\r\n+OK\r\n-ERR no\r\n$-1\r\n" .. bulk("a\0b\r\nc") .. "*2\r\n*-1\r\n*0\r\n"
local mixed_tree = { "array", { "integer", 42 }, { "status", "OK" }, { "error", "ERR no" },
  { "nil" },
  { "string", "a\0b\r\nc" }, { "array", { "nil" }, { "array" } } }

describe("the parser", function()
  it("builds trees of all types", function()
    local trees, failure, has_more = parse(mixed)
    assert.is_nil(failure)
    assert.is_false(has_more)
    assert.same({ mixed_tree }, trees)
  end)

  it("gives the same trees however the bytes are cut", function()
    local stream = mixed .. ":7\r\n" .. bulk("") .. "*1\r\n" .. bulk(("long "):rep(500)) .. mixed
    local whole = parse(stream)
    assert.equal(5, #whole)
    for size = 1, 60 do
      assert.same(whole, (parse(stream, size)))
    end
  end)

  it("knows that a reply is under way", function()
    for _, begun in ipairs { "$", "*2\r\n:1\r\n", "$5\r\nab", ":1", "+O" } do
      local trees, failure, has_more = parse(begun)
      assert.same({ {}, nil, true }, { trees, failure, has_more })
    end
  end)

  it("takes a thousand entries as XREAD answers them", function()
    local entries = {}
    for i = 1, 1000 do
      entries[i] = "*2\r\n" .. bulk(i .. "-0") .. "*2\r\n" .. bulk("data") .. bulk(("x"):rep(95))
    end
    local trees = parse("*1\r\n*2\r\n" .. bulk("orders") .. "*1000\r\n" .. table.concat(entries),
      16384)
    local list = trees[1][2][3]
    assert.equal(1001, #list)
    assert.same({ "array", { "string", "1000-0" }, { "array", { "string", "data" },
      { "string", ("x"):rep(95) } } }, list[1001])
  end)

  it("takes what Redis nests deepest, and refuses what is deeper", function()
    -- COMMAND's key specifications of subcommands are seven arrays deep.
    local trees, failure = parse(("*1\r\n"):rep(7) .. ":1\r\n")
    assert.same({ 1, nil }, { #trees, failure })
    trees, failure = parse(("*1\r\n"):rep(30) .. ":1\r\n")
    assert.equal(0, #trees)
    assert.matches("does not speak the Redis protocol", failure)
  end)

  it("refuses what is no protocol, also inside a reply", function()
    for _, bytes in ipairs { "HTTP/1.1 200 OK\r\n", "\0\0\0\0\r\n", ":12x\r\n", "*x\r\n", "$-2\r\n",
      "*3\r\n:1\r\n!oops\r\n", "*2\r\n$3\r\nabc\r\n?\r\n", "*-5\r\n", "*99999999999999999999\r\n",
      "$99999999999999999999\r\n" } do
      local trees, failure = parse(bytes)
      assert.equal(0, #trees)
      assert.matches("does not speak the Redis protocol", failure or "nothing for " .. bytes)
    end
  end)

  it("does not take memory for a length that is only claimed", function()
    local trees, failure = parse("*2000000000\r\n")
    assert.equal(0, #trees)
    assert.matches("more than %d+ elements", failure)
  end)

  it("meets any bytes with replies or a sentence", function()
    local seed = tonumber(os.getenv("SEED")) or os.time()
    math.randomseed(seed)
    local alphabet = { "*", "$", ":", "+", "-", "\r\n", "1", "2", "0", "9", "a", "\0", "*1\r\n",
      "$1\r\nx\r\n" }
    for _ = 1, 3000 do
      local piece = {}
      for i = 1, math.random(1, 40) do
        piece[i] = alphabet[math.random(#alphabet)]
      end
      local bytes = table.concat(piece)
      assert(pcall(parse, bytes, math.random(1, 9)), ("seed %d: %q"):format(seed, bytes))
    end
  end)
end)

describe("a reply", function()
  it("is compared as text when it is a string or a status", function()
    assert.is_true(C.reply_is_text(reply_of "+OK\r\n", "OK"))
    assert.is_true(C.reply_is_text(reply_of(bulk "OK"), "OK"))
    assert.is_false(C.reply_is_text(reply_of(bulk "OKAY"), "OK"))
    assert.is_false(C.reply_is_text(reply_of "-OK\r\n", "OK"))
    assert.is_false(C.reply_is_text(reply_of ":1\r\n", "1"))
    assert.is_false(C.reply_is_text(reply_of "$-1\r\n", ""))
  end)

  it("is an error by its first word", function()
    assert.is_true(C.reply_is_error(reply_of "-WRONGTYPE bad\r\n", nil))
    assert.is_true(C.reply_is_error(reply_of "-WRONGTYPE bad\r\n", "WRONGTYPE"))
    assert.is_true(C.reply_is_error(reply_of "-WRONGTYPE\r\n", "WRONGTYPE"))
    assert.is_false(C.reply_is_error(reply_of "-WRONGTYPES bad\r\n", "WRONGTYPE"))
    assert.is_false(C.reply_is_error(reply_of "-WRONG bad\r\n", "WRONGTYPE"))
    assert.is_false(C.reply_is_error(reply_of "+WRONGTYPE bad\r\n", "WRONGTYPE"))
  end)

  it("is a number when it is an integer or plain decimal", function()
    local cases = { [":12\r\n"] = 12, [":-3\r\n"] = -3, [bulk "15"] = 15, [bulk "-15"] = -15,
      [bulk ""] = 99, [bulk "-"] = 99, [bulk "1x"] = 99, [bulk " 1"] = 99, [bulk "1.5"] = 99,
        ["$-1\r\n"] = 99,
      ["+7\r\n"] = 99, [bulk "9223372036854775808"] = 99, [bulk "-9223372036854775809"] = 99 }
    for bytes, number in pairs(cases) do
      assert.equal(number, tonumber(C.reply_number(reply_of(bytes), 99)), bytes)
    end
    assert.equal("9223372036854775807LL",
      tostring(C.reply_number(reply_of(bulk "9223372036854775807"), 0)))
    assert.equal("-9223372036854775808LL",
      tostring(C.reply_number(reply_of(bulk "-9223372036854775808"), 0)))
  end)

  it("finds the value of a name in a flat array", function()
    local flat = reply_of(
      "*5\r\n" .. bulk "length" .. ":3\r\n" .. bulk "last" .. bulk "5-0" .. bulk "odd")
    assert.same({ "integer", 3 }, tree(C.reply_field(flat, "length")))
    assert.same({ "string", "5-0" }, tree(C.reply_field(flat, "last")))
    assert.is_true(C.reply_field(flat, "5-0") == nil)
    assert.is_true(C.reply_field(flat, "odd") == nil)
    assert.is_true(C.reply_field(reply_of ":1\r\n", "length") == nil)
  end)

  it("means later for the errors that waiting cures, also behind EXECABORT", function()
    local later = { "OOM command not allowed", "READONLY You can't write",
      "LOADING Redis is loading",
      "MISCONF Errors writing to the AOF", "NOREPLICAS Not enough", "MASTERDOWN Link",
        "BUSY Redis is busy",
      "TRYAGAIN Multiple keys", "CLUSTERDOWN The cluster is down",
        "NOAUTH Authentication required." }
    for _, text in ipairs(later) do
      assert.is_true(C.reply_means_later(reply_of("-" .. text .. "\r\n")), text)
      local behind = "-EXECABORT Transaction discarded because of: " .. text .. "\r\n"
      assert.is_true(C.reply_means_later(reply_of(behind)), behind)
    end
  end)

  it("does not mean later for any other", function()
    for _, bytes in ipairs { "-ERR OOM\r\n", "-BUSYGROUP Consumer Group name already exists\r\n",
      "-NOPERM no\r\n",
      "-BUSYKEY Target key name already exists.\r\n",
        "-EXECABORT Transaction discarded because of previous errors.\r\n",
      "-EXECABORT Transaction discarded because of: NOPERM x\r\n", "+OOM\r\n", ":1\r\n",
        "-\r\n" } do
      assert.is_false(C.reply_means_later(reply_of(bytes)), bytes)
    end
  end)
end)
