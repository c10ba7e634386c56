require "spec.support.runtime"
local outline = require "tidemill.outline"

local TEXT = [==[
-- return { event = {
local event = { note = 1 }
local text = [[
  event = {]]
return tidemill.rule {
  stream = "event = {", -- event = {
  when = function(e) if e.a then local event = { note = { 3 } } end return true end,
  ["event"] = {
    a = { "string", optinal = true },
    note = { "it's {", 'a "quoted" one \' {',
      optinal = true },
    items = { list = { fields = {
      sku = "string", ['count'] = 5 } } },
    deep = shared({
      x = "y" }, { z = 1 }),
  },
  upgrade = { [1] = function() local t = { x = 1 } while t do t = nil end repeat until true end,
    [2] = function() end },
  last == 5,
}
]==]

describe("an outline", function()
  for path, expected in pairs {
    ["event"] = { 8, 1 }, ["event.a"] = { 9, 2 }, ["event.note"] = { 10, 2 }, ["event.note.optinal"] = { 11, 3 },
    ["event.items.list.fields.sku"] = { 13, 5 }, ["event.items.list.fields.count"] = { 13, 5 }, ["event.deep.x"] = { 15, 3 },
    ["event.a.none"] = { 9, 2 }, ["event.none.none"] = { 8, 1 }, ["upgrade"] = { 17, 1 }, ["upgrade.1"] = { 17, 2 },
    ["upgrade.2"] = { 18, 2 }, ["stream"] = { 6, 1 }, ["none"] = { nil, 0 }, ["note"] = { nil, 0 }, ["last"] = { nil, 0 },
  } do
    it("finds " .. path, function()
      local words = {}
      for word in path:gmatch "[^.]+" do words[#words + 1] = tonumber(word) or word end
      local place, found = outline.place(TEXT, words)
      assert.same(expected, { place and place.line, found })
    end)
  end

  it("knows the columns of a key, as it is written", function()
    for path, expected in pairs { event = { 8, 3, 9 }, a = { 9, 5, 1 }, optinal = { 11, 7, 7 }, sku = { 13, 7, 3 } } do
      local whole = { event = { "event" }, a = { "event", "a" }, optinal = { "event", "note", "optinal" },
        sku = { "event", "items", "list", "fields", "sku" } }
      local place = outline.place(TEXT, whole[path])
      assert.same(expected, { place.line, place.column, place.width })
    end
    local number = outline.place(TEXT, { "upgrade", 2 })
    assert.same({ 18, 5, 3 }, { number.line, number.column, number.width })
  end)

  it("reads any text to its end", function()
    for _, text in ipairs { "", "{", "}", ")))", "[[", "--[==[", "'", "'\\", "return", "return { a = { b = ", "end end until",
      "[1", "a =" } do
      assert.same({ nil, 0 }, { outline.place(text, { "x" }) })
    end
    assert.same({ { line = 1, column = 16, width = 1 }, 2 }, { outline.place("return { a = { b = ", { "a", "b" }) })
  end)
end)
