local ffi = require "ffi"
local header = require "spec.support.header"
local C = header.load("src/base/log.h", "src/base/limiter.h", "src/base/escape.h")

local WALL_MS = 1795359845123 -- 2026-11-22T15:04:05.123Z

local function compose(format, level, kind, message, pairs_list, held)
  local out = ffi.new("struct buf")
  local list = ffi.new("const char *[?]", #pairs_list + 1)
  for i, text in ipairs(pairs_list) do
    list[i - 1] = text
  end
  C.log_compose(out, format, WALL_MS, level, kind, message, list, held or 0)
  local text = header.text(out)
  C.buf_fini(out)
  return text
end

local function escaped(call, bytes)
  local out = ffi.new("struct buf")
  C[call](out, bytes, #bytes)
  local text = header.text(out)
  C.buf_fini(out)
  return text
end

describe("a log line", function()
  it("is text of time, level, kind, message and pairs", function()
    assert.equal("2026-11-22T15:04:05.123Z info  link_up  connected url=redis://h:1/0 n=3\n",
      compose(C.LOG_TEXT, C.LOG_INFO, "link_up", "connected", { "url", "redis://h:1/0", "n", "3" }))
    assert.equal("2026-11-22T15:04:05.123Z error x  y\n",
      compose(C.LOG_TEXT, C.LOG_ERROR, "x", "y", {}))
  end)

  it("quotes values that would be ambiguous", function()
    assert.equal(
      [[2026-11-22T15:04:05.123Z warn  k  m a="with space" b="" c="1=2" d="say \"\\\"" é=ü]]
      .. "\n",
      compose(C.LOG_TEXT, C.LOG_WARN, "k", "m",
        { "a", "with space", "b", "", "c", "1=2", "d", [[say "\"]], "é", "ü" }))
  end)

  it("cannot be forged or made to drive a terminal", function()
    local line = compose(C.LOG_TEXT, C.LOG_INFO, "k", "one\ntwo\27[31m",
      { "v", "a\nb\0", "w", "\27]0;x\7\xff\xc2\x9b" })
    assert.equal("2026-11-22T15:04:05.123Z info  k  "
      .. [[one\ntwo\x1b[31m v="a\nb" w="\x1b]0;x\x07\xff\x9b"]] .. "\n", line)
  end)

  it("says how many were held back", function()
    assert.matches(" held_back=17\n$", compose(C.LOG_TEXT, C.LOG_INFO, "k", "m", {}, 17))
    assert.matches(',"held_back":"17"}\n$', compose(C.LOG_JSON, C.LOG_INFO, "k", "m", {}, 17))
  end)

  it("is one JSON object", function()
    assert.equal([[{"time":"2026-11-22T15:04:05.123Z","level":"debug","kind":"k",]]
      .. [["message":"m \"q\"","cause":"a\nb\\\\xff\u0001"}]] .. "\n",
      (compose(C.LOG_JSON, C.LOG_DEBUG, "k", 'm "q"', { "cause", "a\nb\\\xff\1" })))
  end)

  it("knows the names of levels and formats", function()
    local level, format = ffi.new("enum log_level[1]"), ffi.new("enum log_format[1]")
    assert.is_true(C.log_level_parse("warn", level))
    assert.equal(C.LOG_WARN, tonumber(level[0]))
    assert.is_false(C.log_level_parse("loud", level))
    assert.is_true(C.log_format_parse("json", format))
    assert.equal(C.LOG_JSON, tonumber(format[0]))
    assert.is_false(C.log_format_parse("xml", format))
  end)

  it("takes numbers from a rotating set", function()
    local a, b = C.log_number(-5), C.log_number(7)
    assert.equal("-5 7", ffi.string(a) .. " " .. ffi.string(b))
  end)
end)

describe("escaping", function()
  it("leaves good UTF-8 alone and shows every other byte", function()
    assert.equal("häß€𝄞", escaped("escape_text", "häß€𝄞"))
    -- Overlong, surrogate, beyond U+10FFFF, cut short, a lone continuation.
    assert.equal([[\xc0\xaf \xed\xa0\x80 \xf4\x90\x80\x80 \xe2\x82 \x80]],
      escaped("escape_text", "\xc0\xaf \xed\xa0\x80 \xf4\x90\x80\x80 \xe2\x82 \x80"))
  end)

  it("makes JSON of any bytes", function()
    assert.equal([["a\"\\\n\u001b\u009b\\xfe"]], escaped("escape_json", 'a"\\\n\27\xc2\x9b\xfe'))
  end)
end)

describe("the limiter", function()
  local limiter, held

  before_each(function()
    limiter = ffi.new("struct limiter")
    held = ffi.new("uint64_t[1]")
  end)

  local function may_pass(kind, now_ms)
    return C.limiter_may_pass(limiter, kind, C.LOG_WARN, now_ms, held), tonumber(held[0])
  end

  local function take_held(now_ms)
    local kind, tag = ffi.new("const char *[1]"), ffi.new("int[1]")
    if C.limiter_take_held(limiter, now_ms, kind, tag, held) then
      return ffi.string(kind[0]), tag[0], tonumber(held[0])
    end
  end

  it("lets one of a kind a second pass and counts the others", function()
    assert.is_true(may_pass("a", 5000))
    for now = 5001, 5010 do
      assert.is_false((may_pass("a", now)))
    end
    assert.is_true((may_pass("b", 5010)))
    assert.is_false((may_pass("a", 5999)))
    local passed, count = may_pass("a", 6000)
    assert.is_true(passed)
    assert.equal(11, count)
    passed, count = may_pass("a", 7000)
    assert.is_true(passed)
    assert.equal(0, count)
  end)

  it("gives up the count of a kind that fell silent, once, when its second is over", function()
    may_pass("a", 0)
    may_pass("a", 10)
    may_pass("b", 10)
    assert.is_nil(take_held(999))
    local kind, tag, count = take_held(1000)
    assert.same({ "a", C.LOG_WARN, 1 }, { kind, tag, count })
    assert.is_nil(take_held(1000))
    assert.is_false((may_pass("a", 1500))) -- the summary was a line of that kind
  end)

  it("loses no count when there are more kinds than places", function()
    for i = 1, C.LIMITER_KINDS do
      may_pass("kind" .. i, i)
      may_pass("kind" .. i, i)
    end
    assert.is_true((may_pass("one_more", 100)))
    assert.is_true((may_pass("one_more", 101))) -- no place to count it: it is said
    local total = 0
    for _ = 1, C.LIMITER_KINDS do
      local _, _, count = take_held(9000)
      total = total + count
    end
    assert.equal(C.LIMITER_KINDS, total)
    assert.is_true((may_pass("one_more", 9001)))
    assert.is_false((may_pass("one_more", 9002)))
  end)
end)
