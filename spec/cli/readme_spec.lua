-- What README.md shows is tried as it stands there.
require "spec.support.runtime"
local files = require "spec.support.files"
local program = require "spec.support.program"
local testing = require "tidemill.testing"

describe("README.md", function()
  local text = files.read_file "README.md"

  local function block(language, pattern)
    for body in text:gmatch("```" .. language .. "\n(.-)```") do
      if body:find(pattern) then
        return body
      end
    end
    error("README.md has no block of " .. language .. " with " .. pattern)
  end

  local function folder_of_the_tour()
    local folder = files.temp_folder()
    files.make_folder(folder .. "/rules")
    files.write_file(folder .. "/rules/loyalty.lua", block("lua", "tidemill%.rule"))
    return folder
  end

  it("has a rule and settings without mistakes", function()
    local folder = folder_of_the_tour()
    files.write_file(folder .. "/tidemill.lua", block("lua", "limits"))
    local code, out, err = program.run({ "check", "rules" }, { folder = folder })
    assert.same({ 0, "", "" }, { code, out, err })
  end)

  it("shows a mistake as check does, and a project that init makes", function()
    local folder = files.temp_folder()
    local shown, line = text:match "\n```\n(rules/cart%.lua:12: .-\n   12 | ([^\n]*)\n.-)```"
    local begin = block("sh", "tidemill init"):match "^[^\n#]+"
    local code, out, err = program.shell(begin:gsub("tidemill ", '"$tidemill" ') .. ' && "$tidemill" check', { folder = folder })
    assert.equal(0, code, out .. err)
    files.write_file(folder .. "/shop/rules/cart.lua", ("\n"):rep(10) .. "return {\n" .. line .. "\non_event = print }")
    out = select(2, program.run({ "check" }, { folder = folder .. "/shop" }))
    assert.matches(shown, out, 1, true)
  end)

  it("has rules of time without mistakes", function()
    local folder, count = files.temp_folder(), 0
    files.make_folder(folder .. "/rules")
    for body in text:gmatch "```lua\n(%-%- rules/.-)```" do
      files.write_file(folder .. "/rules/" .. body:match "^%-%- rules/([%w_]+%.lua): ", body)
      count = count + 1
    end
    assert.equal(3, count)
    local code, out, err = program.run({ "check", "rules" }, { folder = folder })
    assert.same({ 0, "", "" }, { code, out, err })
  end)

  it("has a schema that makes new events of old ones", function()
    local kit = testing.load {
      ["rule.lua"] = [[return { stream = "order", event = require "schemas.order", key = function(e) return e.customer.id end,
        on_event = function(event, ctx) ctx.emit("out", event) end }]],
      ["schemas/order.lua"] = block("lua", "tidemill%.schema"),
    }
    kit:event("order", { uid = "u1", cents = 1250 })
    assert.same({}, kit:letters())
    assert.same({ v = 2, customer = { id = "u1" }, total = 12.5, currency = "EUR" }, kit:effects()[1].fields)
  end)

  it("has a spec and cases that pass", function()
    local folder = folder_of_the_tour()
    files.make_folder(folder .. "/spec")
    files.write_file(folder .. "/spec/loyalty_spec.lua", block("lua", "^%-%- spec/loyalty_spec"))
    files.write_file(folder .. "/spec/loyalty.cases.jsonl", block("json", "a discount"))
    local code, out, err = program.run({ "test" }, { folder = folder })
    assert.same({ 0, "3 passed, 0 failed\n", "" }, { code, out, err })
    files.write_file(folder .. "/spec/loyalty.cases.jsonl", (block("json", "a discount"):gsub('"percent":5', '"percent":10')))
    local shown = text:match("\n    (FAILED  spec/.-)\n\n"):gsub("\n    ", "\n")
    assert.matches(shown, select(2, program.run({ "test" }, { folder = folder })), 1, true)
  end)

  it("has a ring that counts", function()
    local kit = testing.load { ["ring.lua"] = ([[
      local tidemill = require "tidemill"
      local window = tidemill.window
      return tidemill.rule { stream = "payment", on_event = function(event, ctx) %s end }]]):format(block("lua", "window%.ring")) }
    for _ = 1, 10 do kit:event("payment", { amount = 1 }) end
    assert.same({}, kit:letters())
    kit:event("payment", { amount = 1 })
    assert.equal("too much", kit:letters()[1].message)
  end)

  -- Lines of sh, with the program under test and a folder of our own instead of /tmp/shop.
  local function try(folder, lines, deadline_s)
    lines = lines:gsub("/tmp/shop", folder .. "/shop"):gsub("%f[%w]tidemill ", '"$tidemill" ')
    return program.shell(lines, { folder = folder, env = { XDG_RUNTIME_DIR = folder } }, deadline_s)
  end

  it("has a tour that works", function()
    local folder = folder_of_the_tour()
    local run, tail, send = block("sh", "%-%-embedded"):match "^([^\n]+)\n([^\n]+)\n([^\n]+)\n$"
    assert.is_truthy(send)
    local rest = ""
    for _, pattern in ipairs { "state list", "timers list", "dlq list", "^tidemill status" } do
      rest = rest .. block("sh", pattern) .. "\n"
    end
    rest = rest:gsub("tidemill dlq show ID\n", "") -- ID stands for one
    files.write_file(folder .. "/purchases.jsonl", '{"user_id":"u2","total":30}\n{"user_id":3,"total":30}\n')
    local code, out, err = try(folder, table.concat {
      run, " >run.log 2>&1 & engine=$!\n", [[
      trap 'kill $engine' EXIT
      patiently() { i=0; until "$@"; do i=$((i + 1)); [ $i -lt 200 ] || exit 9; sleep 0.05; done; }
      has_started() { grep -q acquired run.log; }
      has_letter() { tidemill dlq list | grep -q schema; }
      patiently has_started
      ]], send, "\n", tail, " --from start --count 1\n", [[
      export REDIS_URL=unix:///tmp/shop/redis.sock
      ]], block("sh", "purchases%.jsonl"), "patiently has_letter\nset -e\n", rest, [[
      trap - EXIT
      kill $engine
      wait $engine]],
    }, 40)
    local log = files.read_file(folder .. "/run.log")
    assert.equal(0, code, tostring(err) .. out .. log)
    assert.is_truthy(text:find('prints `{"id":"…","stream":"offers","event":{"user_id":"u1","percent":5}}`', 1, true))
    assert.is_truthy(out:match '^{"id":"[%d-]+","stream":"offers","event":{[^\n]*"percent":5', out)
    assert.is_truthy(out:find("u1\t{\"spent\":20}", 1, true), out)
    assert.is_truthy(out:find("field 'user_id' must be a string", 1, true), out)
    assert.is_nil(err:find("tidemill:", 1, true), err)
  end)
end)
