-- tidemill-rules(7) is written by hand: here it is compared with what rules can do.
require "spec.support.runtime"
local environment = require "tidemill.environment"
local files = require "spec.support.files"
local known = require "spec.support.known"
local process = require "spec.support.process"
local rulebook = require "tidemill.rulebook"
local testing = require "tidemill.testing"

local PAGE = "src/cli/tidemill-rules.7"
local REASONS = "decode schema key error dead time memory output state hang crash late future refused unverified upgrade migrate"

-- The page as text, without roff.
local function plain(roff)
  return (roff:gsub("\\f[BRIP]", ""):gsub("\\%-", "-"):gsub("\\&", ""):gsub("\\%(dq", '"'):gsub("\\%(ha", "^")
    :gsub("\\%(ti", "~"):gsub("\\e", "\\"))
end

describe("the manual of rules", function()
  local roff = files.read_file(PAGE)
  local text = plain(roff)

  local function section(name)
    return assert(text:match("\n%.SH " .. name .. "\n(.-)\n%.SH "), "there is no section " .. name)
  end

  -- Is there an item (.TP) whose title begins with, or names among others, this word?
  local function has_item(part, word)
    for title in part:gmatch '\n?%.TP\n%.B "(.-)"\n' do
      if title:find("%f[%w_]" .. word .. "%f[^%w_]") then return true end
    end
    return false
  end

  it("has an item for every field of a rule", function()
    local part = section "THE RULE TABLE"
    for _, name in ipairs(known.fields()) do assert.matches('%.B "' .. name .. " = ", part) end
    for _, name in ipairs(known.fields "state") do assert.matches(name, part .. section "STATE", 1, true) end
    for _, name in ipairs(known.fields "limits") do
      assert.matches('%.B "' .. name .. ' %*"', section "LIMITS")
    end
  end)

  it("has an item for every member of ctx, and function of ctx.timer", function()
    local part = section "THE CONTEXT"
    for _, name in ipairs(known.ctx()) do assert.is_true(has_item(part, name), name) end
    for _, name in ipairs { "set", "set_at", "cancel", "get" } do
      assert.matches('%.B "ctx%.timer%.' .. name .. "%(", section "TIMERS")
    end
  end)

  it("has an item for every reason of a dead letter", function()
    local part = section "DEAD LETTERS"
    local count = select(2, part:gsub('%.B "%l+"\n', ""))
    for reason in REASONS:gmatch "%l+" do
      assert.matches('%.B "' .. reason .. '"\n', part)
      count = count - 1
    end
    assert.equal(0, count)
  end)

  it("has an item for every function and value of the modules", function()
    local part = section "MODULES"
    for module in pairs(rulebook.MODULES) do
      local short = module:match "[%w_]+$"
      for name in pairs(require(module)) do assert.is_true(has_item(part, short .. "%." .. name), short .. "." .. name) end
    end
    for name in pairs(require("tidemill.window").ring("1m", 2)) do assert.matches("%f[%w]" .. name .. "%(kept, now", part) end
  end)

  it("names all that Lua has in a rule", function()
    local part = section "WHAT LUA HAS IN A RULE"
    for _, name in ipairs(environment.names()) do assert.matches("%f[%w]" .. name .. "%f[%W]", part) end
  end)

  it("names methods of the test kit that are there", function()
    local kit = testing.load { ["r.lua"] = 'return { stream = "s", on_event = function() end }' }
    local count = 0
    for name in section("TESTING"):gmatch "kit:([%a_]+)" do
      assert.equal("function", type(kit[name]), name)
      count = count + 1
    end
    assert.is_true(count >= 14)
  end)

  it("has rules without mistakes", function()
    local list = {}
    for body in text:gmatch "%.nf\n%.RS\n(%-%- rules/[%w_]+%.lua: .-)%.RE\n" do
      list[#list + 1] = { name = body:match "^%-%- rules/([%w_]+%.lua): ", text = body }
    end
    assert.equal(3, #list)
    local book = known.load(list)
    assert.same({}, book.problems)
    assert.equal(3, #book.rules)
  end)

  it("has other Lua that can be read", function()
    local count = 0
    for body in text:gmatch "%.nf\n%.RS\n(.-)%.RE\n" do
      if not body:find '^{"name"' then
        local readable = loadstring(body) or loadstring("return {" .. body .. "}")
        assert(readable, body)
        count = count + 1
      end
    end
    assert.is_true(count >= 8, count)
  end)

  it("is installed and removed with the program, and referred to", function()
    local makefile = files.read_file "Makefile"
    assert.equal(2, select(2, makefile:gsub("man7/tidemill%-rules%.7", "")))
    assert.matches(".BR tidemill\\-rules (7)", files.read_file "src/cli/tidemill.1", 1, true)
  end)

  it("is good roff", function()
    local code, out, err = process.run { "sh", "-c", "command -v groff >/dev/null || exit 0; groff -man -ww -z " .. PAGE }
    assert.same({ 0, "", "" }, { code, out, err })
    for line in roff:gmatch "[^\n]+" do assert.is_true(#line <= 130, line) end
  end)
end)
