local ffi = require "ffi"
local header = require "spec.support.header"
local C = header.load("src/cli/table.h")

-- The lines of a table of two columns.
local function lines_of(rows, width)
  local table, out = ffi.new("struct table", { columns = 2 }), ffi.gc(ffi.new("struct buf"), C.buf_fini)
  for _, row in ipairs(rows) do
    for _, cell in ipairs(row) do C.table_add(table, cell, #cell) end
  end
  C.table_print(table, out, width or 0, false)
  C.table_fini(table)
  local lines = {}
  for one in header.text(out):gmatch "[^\n]+" do lines[#lines + 1] = one end
  return lines
end

describe("a table", function()
  it("has columns as wide as their widest cell, and says - of nothing", function()
    assert.same({ "KEY    N", "u1     1", "user2  -" }, lines_of { { "KEY", "N" }, { "u1", "1" }, { "user2", "" } })
  end)

  it("lines up behind wide characters and those that join", function()
    assert.same({ "KEY   N", "漢字  1", "ab    2", "e\204\129     3" },
      lines_of { { "KEY", "N" }, { "漢字", "1" }, { "ab", "2" }, { "e\204\129", "3" } })
  end)

  it("cuts the last cell at the width, between characters", function()
    assert.same({ "K  V", "a  1234567…" }, lines_of({ { "K", "V" }, { "a", "123456789" } }, 11))
    assert.same({ "K  V", "a  漢字漢…" }, lines_of({ { "K", "V" }, { "a", "漢字漢字漢" } }, 11))
  end)

  it("makes the bytes of others safe, and shows their first line", function()
    assert.same({ "K        V", "\\x1b[2J  \\xff" }, lines_of { { "K", "V" }, { "\27[2J", "\255\nb" } })
  end)
end)
