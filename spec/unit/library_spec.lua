-- The library that editors complete rules from (scripts/annotations.lua) says what the engine does: no name too many or too few.
require "spec.support.runtime"
local annotations = require "spec.support.annotations"
local commands = require "tidemill.testing_commands"
local files = require "spec.support.files"
local known = require "spec.support.known"
local rulebook = require "tidemill.rulebook"
local testing = require "tidemill.testing"

local folder = files.temp_folder()
assert(os.execute(("luajit scripts/annotations.lua '%s'"):format(folder)) == 0)

local sorted_keys = known.sorted

describe("the library of annotations", function()
  local library = annotations.read {
    folder .. "/tidemill.lua", folder .. "/tidemill/window.lua", folder .. "/tidemill/testing.lua", folder .. "/tidemill/redis.lua",
  }

  local function fields_of(class)
    return sorted_keys(assert(library.classes[class], class .. " is no class").fields)
  end

  it("defines every class that it names", function()
    for name, place in pairs(library.references) do assert(library.classes[name], place .. ": there is no class " .. name) end
  end)

  it("has every field of a rule, and no other", function()
    assert.same(known.fields(), fields_of "tidemill.rule.definition")
    assert.same(known.fields "state", fields_of "tidemill.rule.state")
    assert.same(known.fields "limits", fields_of "tidemill.rule.limits")
  end)

  it("has every member of ctx, and no other", function()
    assert.same(known.ctx(), fields_of "tidemill.ctx")
  end)

  it("has members of ctx that are there", function()
    local lines = {}
    for _, name in ipairs(fields_of "tidemill.ctx") do lines[#lines + 1] = ("local _ = ctx.%s"):format(name) end
    for _, name in ipairs(fields_of "tidemill.timer") do lines[#lines + 1] = ("assert(ctx.timer.%s)"):format(name) end
    for _, name in ipairs(fields_of "tidemill.log") do lines[#lines + 1] = ("ctx.log.%s('x')"):format(name) end
    local kit = testing.load { ["r.lua"] = ([[
      return { stream = "s", on_event = function(_, ctx) %s end }]]):format(table.concat(lines, " ")) }
    kit:event("s", { n = 1 })
    assert.same({}, kit:letters())
    assert.equal(4, #kit:logs())
  end)

  it("has every function of ctx.timer and ctx.log", function()
    local kit = testing.load { ["r.lua"] = 'return { stream = "s", on_event = function(_, ctx) ctx.timer.frobnicate() end }' }
    kit:event("s", { n = 1 })
    local names = {}
    for name in kit:letters()[1].message:match("'frobnicate': (.*)$"):gmatch "[%w_]+" do names[#names + 1] = name end
    table.sort(names)
    assert.same(names, fields_of "tidemill.timer")
    assert.same({ "debug", "error", "info", "warn" }, fields_of "tidemill.log")
  end)

  it("has all of each module, and no more", function()
    for module in pairs(rulebook.MODULES) do
      local name = module:match "[%w_]+$"
      assert.same(sorted_keys(require(module)), sorted_keys(library.members[name]), module)
    end
    local public = {}
    for name in pairs(testing) do public[name] = true end
    assert.same(sorted_keys(public), sorted_keys(library.members.testing))
  end)

  it("has methods of the kit that are there", function()
    local kit = testing.load { ["r.lua"] = 'return { stream = "s", on_event = function() end }' }
    local methods = sorted_keys(library.members.Kit)
    assert.is_true(#methods >= 12)
    for _, name in ipairs(methods) do assert.equal("function", type(kit[name]), name) end
    for _, name in ipairs(fields_of "tidemill.testing.kit") do assert.equal("table", type(kit[name]), name) end
  end)

  it("has aggregates and rings as they are", function()
    local window = require "tidemill.window"
    assert.same(sorted_keys(window.sum), fields_of "tidemill.window.aggregate")
    assert.same(sorted_keys(window.ring("1m", 2)), fields_of "tidemill.window.ring")
    for _, one in ipairs { window.tumbling(1), window.sliding(2, 1), window.session(1), window.count(1) } do
      for name in pairs(one) do assert.is_truthy(library.classes["tidemill.window"].fields[name], name) end
    end
  end)

  it("has the commands of Redis that the kit knows, with as many arguments", function()
    local fields = library.classes["tidemill.redis"].fields
    for name, row in pairs(commands.TABLE) do
      local field = fields[name:lower()]
      assert.equal(row.kind ~= "refused", field ~= nil, name)
      if field then
        local params = field.type.params
        local is_open = params[#params] ~= nil and params[#params].name == "..."
        local named = #params - (is_open and 1 or 0)
        if row.arity > 0 then
          assert.same({ row.arity - 1, false }, { named, is_open }, name)
        else
          assert.is_true(is_open and named >= math.min(-row.arity - 1, name == "GEOSEARCH" and 2 or 3), name)
        end
        assert.equal(row.kind == "read", field.type.returns ~= nil, name)
      end
    end
    assert.is_truthy(fields["[string]"].type.params)
  end)

  it("is what make puts beside the program", function()
    local variant = os.getenv "VARIANT" or "release"
    local code = os.execute(("diff -r '%s' 'build/%s/library' >/dev/null"):format(folder, variant))
    assert.equal(0, code, "build/" .. variant .. "/library is not up to date: make")
  end)
end)

describe("the reader of annotations", function()
  it("parses types", function()
    for text, rest in pairs {
      ["string|number"] = "", ["fun(a: string, b?: number): table<string, any>[] what"] = "what",
      ["{ a: string, b?: fun(...: any) }|nil  text"] = "text", ["(string|nil)[]"] = "", ["\"a\"|\"b\""] = "",
      ["fun(event: table): any   when"] = "when",
    } do
      local _, _, behind = annotations.parse_type(text)
      assert.equal(rest, behind:match "^%s*(.-)%s*$", text)
    end
  end)

  it("refuses what is none", function()
    for _, text in ipairs { "", "|", "fun(a: )", "fun(a", "{ a }", "table<string", "(string", "fun(a b)" } do
      assert.is_false((pcall(annotations.parse_type, text)), text)
    end
  end)
end)
