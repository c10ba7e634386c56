local ffi = require "ffi"
local header = require "spec.support.header"
local C = header.load("src/base/terminal.h")
ffi.cdef [[
  int posix_openpt(int flags);
  int grantpt(int fd);
  int unlockpt(int fd);
  int pipe(int ends[2]);
  int close(int fd);
  int setenv(const char *name, const char *value, int overwrite);
  int unsetenv(const char *name);
]]

local function with_environment(values, call)
  local before = {}
  for name, value in pairs(values) do
    before[name] = os.getenv(name) or false
    if value then ffi.C.setenv(name, value, 1) else ffi.C.unsetenv(name) end
  end
  local result = call()
  for name, value in pairs(before) do
    if value then ffi.C.setenv(name, value, 1) else ffi.C.unsetenv(name) end
  end
  return result
end

describe("a terminal", function()
  local O_RDWR, O_NOCTTY = 2, 256
  local fd

  before_each(function()
    fd = ffi.C.posix_openpt(O_RDWR + O_NOCTTY)
    assert(fd >= 0 and ffi.C.grantpt(fd) == 0 and ffi.C.unlockpt(fd) == 0)
  end)

  after_each(function()
    ffi.C.close(fd)
  end)

  local function has_colour(no_colour, term)
    return with_environment({ NO_COLOR = no_colour, TERM = term }, function() return C.terminal_has_colour(fd) end)
  end

  it("is watched; a pipe and a closed file are not", function()
    local ends = ffi.new("int[2]")
    assert.equal(0, ffi.C.pipe(ends))
    assert.is_true(C.terminal_is_watched(fd))
    assert.is_false(C.terminal_is_watched(ends[1]))
    assert.is_false(C.terminal_has_colour(ends[1]))
    ffi.C.close(ends[0])
    ffi.C.close(ends[1])
    assert.is_false(C.terminal_is_watched(-1))
  end)

  it("has colour unless it is dumb or NO_COLOR says something", function()
    assert.is_true(has_colour(false, "xterm"))
    assert.is_true(has_colour("", "xterm")) -- empty counts as not set, https://no-color.org
    assert.is_true(has_colour(false, false))
    assert.is_false(has_colour("1", "xterm"))
    assert.is_false(has_colour("0", "xterm"))
    assert.is_false(has_colour(false, "dumb"))
  end)

  it("gives two columns to a wide character, and none to one that joins the one before", function()
    for character, columns in pairs { a = 1, ["é"] = 1, ["€"] = 1, ["漢"] = 2, ["ｱ"] = 1, ["Ａ"] = 2, ["😀"] = 2, ["\204\129"] = 0,
      ["\200\200"] = 1 } do
      assert.equal(columns, tonumber(C.terminal_columns(character, #character)), character)
    end
  end)

  it("fits the longest beginning, and tells how wide it is", function()
    local columns = ffi.new "size_t[1]"
    for _, case in ipairs { { "abc", 2, 2, 2 }, { "abc", 9, 3, 3 }, { "漢字", 3, 3, 2 }, { "e\204\129x", 1, 3, 1 }, { "\200\255a", 2, 2, 2 },
      { "", 5, 0, 0 } } do
      local text, most, len, wide = unpack(case)
      assert.same({ len, wide }, { tonumber(C.terminal_fit(text, #text, most, columns)), tonumber(columns[0]) }, text)
    end
  end)
end)
