-- Editions: the texts of a folder, put together and taken apart.
local ffi = require "ffi"
local files = require "spec.support.files"
local header = require "spec.support.header"
local C = header.load("src/rules/edition.h")

-- What an edition holds: { file = { text, { lib = text … }, pinned? } … } in order.
local function shown(e)
  local list = {}
  for i = 0, tonumber(e.count) - 1 do
    local unit, libraries = e.units[i], {}
    for k = 0, tonumber(unit.libraries.count) - 1 do
      local file = unit.libraries.list[k]
      libraries[ffi.string(file.name)] = ffi.string(file.text, file.len)
    end
    list[i + 1] = { ffi.string(unit.file.name), ffi.string(unit.file.text, unit.file.len), libraries, unit.is_pinned }
  end
  return list
end

local function read(folder)
  local out, why = ffi.new("struct edition *[1]"), ffi.new("struct error")
  if C.edition_read(folder, out, why) ~= 0 then return nil, ffi.string(why.text) end
  return ffi.gc(out[0], C.edition_destroy)
end

local function folder_of(texts)
  local folder = files.temp_folder()
  for name, text in pairs(texts) do
    files.make_folder((folder .. "/" .. name):match "^(.*)/")
    files.write_file(folder .. "/" .. name, text)
  end
  return folder
end

local function bytes_of(e)
  local out = ffi.new("struct buf")
  C.edition_write(e, out)
  local bytes = ffi.string(out.data, out.len)
  C.buf_fini(out)
  return bytes
end

local function parse(bytes)
  local out, why = ffi.new("struct edition *[1]"), ffi.new("struct error")
  if C.edition_parse(bytes, #bytes, out, why) ~= 0 then return nil, ffi.string(why.text) end
  return ffi.gc(out[0], C.edition_destroy)
end

describe("an edition", function()
  header.load("src/base/buf.h")

  it("is read from a folder: rules at the top, libraries at any depth below lib and schemas", function()
    local e = read(folder_of { ["b.lua"] = "B", ["a.lua"] = "", ["lib/x.lua"] = "X\0", ["lib/deep/y.lua"] = "Y",
      ["schemas/order.lua"] = "O", ["schemas/deep/x_spec.lua"] = "S", ["b_spec.lua"] = "no", ["_spec.lua"] = "whole",
      ["other/no.lua"] = "no", ["readme.txt"] = "no", [".hidden.lua"] = "no", ["lib/.#x.lua"] = "no", [".lua"] = "no" })
    local libraries = { ["lib/x.lua"] = "X\0", ["lib/deep/y.lua"] = "Y", ["schemas/order.lua"] = "O", ["schemas/deep/x_spec.lua"] = "S" }
    assert.same({ { "_spec.lua", "whole", libraries, false }, { "a.lua", "", libraries, false }, { "b.lua", "B", libraries, false } },
      shown(e))
    assert.equal(e.units[0].libraries, e.units[1].libraries) -- shared
  end)

  it("cannot be read from what is no folder", function()
    local e, why = read "/tmp/there/is/no/such/folder"
    assert.is_nil(e)
    assert.matches("cannot read the rules folder /tmp/there/is/no/such/folder", why, 1, true)
  end)

  it("is read to its end where symlinks lead back up", function()
    local folder = folder_of { ["a.lua"] = "A", ["lib/x.lua"] = "X", ["lib/deep/y.lua"] = "Y" }
    os.execute(("cd %s/lib && ln -s . self && ln -s .. up && ln -s .. deep/up && ln -s deep twin"):format(folder))
    local libraries = { ["lib/x.lua"] = "X", ["lib/deep/y.lua"] = "Y", ["lib/twin/y.lua"] = "Y" }
    assert.same({ { "a.lua", "A", libraries, false } }, shown(read(folder)))
  end)

  it("is of a size that a process can hold", function()
    local folder = folder_of { ["a.lua"] = "A", ["lib/x.lua"] = "X" }
    os.execute(("truncate -s 200G %s/lib/y.lua"):format(folder))
    local e, why = read(folder)
    assert.is_nil(e)
    assert.equal(folder .. "/lib/y.lua is too large: all rules and libraries together may have 64 MiB", why)
  end)

  it("has for a file that cannot be read a text that raises why; a symlink to nothing is no file", function()
    local folder = folder_of { ["a.lua"] = "A", ["lib/x.lua"] = "X" }
    -- Nobody can read the beginning of /proc/self/mem.
    os.execute(("cd %s && ln -s /proc/self/mem b.lua && ln -s /proc/self/mem lib/y.lua && ln -s nothing c.lua && "
      .. "ln -s d.lua d.lua"):format(folder))
    local list = shown(read(folder))
    assert.same({ "a.lua", "b.lua", "d.lua" }, { list[1][1], list[2][1], list[3][1] })
    assert.same({ "A", "X" }, { list[1][2], list[1][3]["lib/x.lua"] })
    local cure = "; let the engine's user read it, or remove it"
    for text, cause in pairs { [list[2][2]] = "Input/output error", [list[1][3]["lib/y.lua"]] = "Input/output error",
      [list[3][2]] = "Too many levels of symbolic links" } do
      assert.same({ false, "cannot be read: " .. cause .. cure }, { pcall(loadstring(text, "@it")) })
    end
  end)

  it("is put together from others, unit by unit, each with its libraries", function()
    local old = read(folder_of { ["a.lua"] = "old a", ["b.lua"] = "old b", ["lib/l.lua"] = "old" })
    local new = read(folder_of { ["a.lua"] = "new a", ["c.lua"] = "c", ["lib/l.lua"] = "new" })
    local e = ffi.gc(C.edition_create(7), C.edition_destroy)
    C.edition_put(e, C.edition_find(new, "c.lua"))
    C.edition_put(e, C.edition_find(new, "a.lua"))
    C.edition_put(e, C.edition_find(old, "b.lua"))
    e.units[1].is_pinned = true
    old, new = nil, nil -- luacheck: ignore
    collectgarbage()
    local expected = { { "a.lua", "new a", { ["lib/l.lua"] = "new" }, false }, { "b.lua", "old b", { ["lib/l.lua"] = "old" }, true },
      { "c.lua", "c", { ["lib/l.lua"] = "new" }, false } }
    assert.same(expected, shown(e))
    local back = assert(parse(bytes_of(e)))
    assert.same(expected, shown(back))
    assert.equal(7, tonumber(back.number))
    assert.equal(back.units[0].libraries, back.units[2].libraries)
    assert.is_true(C.edition_matches(e, back))
    C.edition_remove(back, "b.lua")
    C.edition_remove(back, "b.lua")
    assert.is_false(C.edition_matches(e, back))
    assert.same({ expected[1], expected[3] }, shown(back))
    assert.equal(nil, C.edition_find(back, "b.lua"))
  end)

  it("matches another by texts, not by numbers, pins or folders", function()
    local one = read(folder_of { ["a.lua"] = "a", ["lib/l.lua"] = "l" })
    local two = read(folder_of { ["a.lua"] = "a", ["lib/l.lua"] = "l" })
    two.number, two.units[0].is_pinned = 5, true
    assert.is_true(C.edition_matches(one, two))
    for _, texts in ipairs { { ["a.lua"] = "b", ["lib/l.lua"] = "l" }, { ["a.lua"] = "a", ["lib/l.lua"] = "m" },
      { ["a.lua"] = "a" }, { ["b.lua"] = "a", ["lib/l.lua"] = "l" }, { ["a.lua"] = "a", ["lib/m.lua"] = "l" } } do
      assert.is_false(C.edition_matches(one, read(folder_of(texts))))
    end
  end)

  it("is not made from damaged bytes", function()
    local whole = bytes_of(read(folder_of { ["a.lua"] = "text", ["lib/l.lua"] = "l" }))
    for len = 0, #whole - 1 do
      local e, why = parse(whole:sub(1, len))
      assert.is_nil(e)
      assert.equal("these bytes are no edition of rules", why)
    end
    assert.is_nil(parse(whole .. "x"))
    for at = 1, #whole do
      parse(whole:sub(1, at - 1) .. "\255" .. whole:sub(at + 1)) -- whatever it says, it comes back
    end
    assert.same({}, shown(assert(parse(bytes_of(C.edition_create(0))))))
  end)
end)
