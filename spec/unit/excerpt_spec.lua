local ffi = require "ffi"
local header = require "spec.support.header"
local C = header.load("src/base/excerpt.h")

-- The lines of an excerpt.
local function excerpt(text, column, width, line, is_coloured)
  local out = ffi.gc(ffi.new("struct buf"), C.buf_fini)
  local e = ffi.new("struct excerpt", { text = text, line = line or 12, column = column, width = width })
  C.excerpt_append(out, e, is_coloured or false)
  local lines = {}
  for one in header.text(out):gmatch "[^\n]+" do lines[#lines + 1] = one end
  return lines
end

-- What stands over the carets.
local function over(lines)
  local first, last = lines[2]:find "%^+"
  -- A character of UTF-8 is one column: the rest of its bytes is taken away.
  return (lines[1]:gsub("[\xc2-\xf4][\x80-\xbf]+", "#"):sub(first, last))
end

describe("an excerpt", function()
  it("is the line with its number, and carets under the word", function()
    assert.same({ '   12 |   strem = "cart",', "      |   ^^^^^" }, excerpt('  strem = "cart",', 3, 5))
    assert.same({ "12345678 | x", "         | ^" }, excerpt("x", 1, 1, 12345678))
  end)

  it("has carets under the word whatever stands before", function()
    for _, before in ipairs { "\t", "\t\t", " \t", "   \t", "é ", "\t€\t", "\1", "\200 ", "\t\27[2J" } do
      for _, e in ipairs { excerpt(before .. "strem = 1", #before + 1, 5) } do
        assert.equal("strem", over(e), before)
        assert.not_matches("[%c\128-\191]", (e[1]:gsub("[\xc2-\xf4][\x80-\xbf]+", "")))
      end
    end
  end)

  it("has carets under the word behind wide characters, and under them", function()
    assert.same({ "   12 | -- 漢字 strem", "      |         ^^^^^" }, excerpt("-- 漢字 strem", 11, 5))
    assert.same({ "   12 | 漢字 = 1", "      | ^^^^" }, excerpt("漢字 = 1", 1, 6))
  end)

  it("keeps what joins the last character, and nothing that joins one that is cut away", function()
    assert.same({ "   12 | cafe\204\129", "      | ^^^^" }, excerpt("cafe\204\129", 1, 6))
    local long = ("e\204\129"):rep(300)
    local e = excerpt(long, 3 * 150 + 1, 3)
    assert.matches("| ...e\204\129", e[1], 1, true)
    assert.equal(90, select(2, e[1]:gsub("e\204\129", "")))
    assert.matches("^%s+|%s+%^$", e[2])
  end)

  it("cuts a long line around the word", function()
    for _, at in ipairs { 1, 50, 89, 100, 300, 595 } do
      local text = ("a "):rep(300):sub(1, at - 1) .. "strem" .. (" b"):rep(300):sub(1, 600 - at)
      local e = excerpt(text, at, 5)
      assert.equal("strem", over(e), at)
      assert.is_true(#e[1] <= 8 + 90 + 6, e[1])
      assert.equal(at > 86, e[1]:find("| ...", 1, true) ~= nil, e[1])
    end
  end)

  it("stays within the line when the word is longer than what is shown", function()
    local e = excerpt(("x"):rep(500), 1, 500)
    assert.is_true(#e[2] <= #e[1])
    assert.matches("%^%^%^$", e[2])
  end)

  it("points behind the end at what is missing there", function()
    assert.same({ "   12 | return {", "      |         ^" }, excerpt("return {", 9, 0))
    assert.same({ "   12 | return {", "      |         ^" }, excerpt("return {", 4000, 7))
  end)

  it("has no carets without a column, and is nothing without a text", function()
    assert.same({ "   12 | error 'x'" }, excerpt("error 'x'", 0, 0))
    assert.same({}, excerpt(" \t", 1, 1))
    assert.same({}, excerpt(nil, 1, 1))
    assert.same({}, excerpt("x", 1, 1, 0))
  end)

  it("is coloured when asked", function()
    assert.matches("\27%[31;1m%^\27%[0m", excerpt("x", 1, 1, 1, true)[2])
  end)
end)
