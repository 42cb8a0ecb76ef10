"""What an English message asks for."""

# ruff: noqa: E501, SIM905 (word lists and patterns read best in wide lines)

from __future__ import annotations

import re
from collections.abc import Callable

from robotchat.prompt.rules.lexicon import category, opposites
from robotchat.prompt.rules.operations import (
    Addition,
    Attach,
    Chat,
    ChatKind,
    Count,
    Draw,
    Fewer,
    Not,
    Operation,
    Place,
    Redraw,
    Removal,
    Replace,
    Reset,
    Restyle,
    Set,
)
from robotchat.prompt.rules.patterns import Pattern
from robotchat.prompt.rules.structure import (
    DETERMINERS,
    FOREIGN,
    PREPOSITIONS,
    SHADES,
    is_adjective,
    is_colour,
    role,
    words,
)


def _rule(source: str) -> Pattern:
    return Pattern(source, re.IGNORECASE)


_PRAISE_WORD = (
    r"nice|great|awesome|beautiful|lovely|perfect|amazing|cool|good|cute|wonderful|gorgeous|stunning|"
    r"brilliant|excellent|fantastic|incredible|superb|sweet|pretty|hilarious|funny|neat|fine|better|best|"
    r"fabulous|magnificent|impressive|adorable|wow|yay|haha\w*|lol|lmao|omg|bravo|well done|good job|"
    r"nice work|great work|nice one|good one|great job|not bad|so cool|how cute|so cute|so pretty"
)
_PRAISE = _rule(
    rf"(?:(?:oh|wow|omg|haha\w*|ah|ooh|aww*|yes|yeah)\s+)*(?:(?:that|this|it|these|they|the (?:picture|result|image)|you|what an?|the (?:[\w'-]+ ){{0,2}}?[\w'-]+(?= (?:is|are|looks?|turned out|came out)\b))"
    rf"(?:'s|'re| is| are| was| looks?| turned out| came out| did)?\s+)?"
    rf"(?:(?:so|very|really|absolutely|pretty|just|such|quite|simply|looking|super|truly|looks?|an?|much|even|all)\s+)*"
    rf"(?:{_PRAISE_WORD})(?:\s+(?:work|job|one|picture|image|result|stuff|so far|indeed|now|already|thanks|then|"
    rf"that'?s? is|as it is|the way it is|enough))*"
    rf"|(?:i|we)\s+(?:really |absolutely |just |do )*(?:loved?|liked?|adored?|am loving|enjoy(?:ed)?)\s+"
    rf"(?:it|this|that|them|these|how .*|what you.*|(?:your|the|that|this) .*)"
    rf"(?:\s+(?:so much|a lot|very much|already))?"
    rf"|(?:love|like|loving|loved)\s+(?:it|this|that|them)(?:\s+(?:so much|a lot))?"
    rf"|(?:that'?s|it'?s|this is) (?:exactly |just )?what i (?:wanted|meant|had in mind|was looking for)"
    rf"|that made my day|you(?:'re| are) (?:the best|a genius|amazing|awesome|so good|very good).*"
)
_THANKS = _rule(
    r"(?:many |ok |okay |great |cool |perfect |no |well )?(?:thanks?|thank you|thx|ty|cheers|much appreciated|appreciate it)\b"
    r"(?:[\s,]+(?:a lot|so much|very much|a bunch|again|you|for .*|man|mate|buddy|bot|robot|that'?s all|that is all|everyone|to you))*"
)
_GREETING = _rule(
    r"(?:hi|hello|hey|hiya|howdy|yo|greetings|good (?:morning|evening|afternoon|day|night)|bye|goodbye|"
    r"see you|see ya|later|good to see you|nice to meet you|what'?s up|sup)"
    r"(?:[\s,]+(?:there|you|robot|bot|robotchat|again|everyone|all|friend|my friend|buddy|mate|then|for now|later))*"
)
_ACKNOWLEDGE = _rule(
    r"(?:ok(?:ay)?|k|yes|yeah|yep|yup|sure|right|alright|all right|i see|got it|understood|hmm+|um+|uh+|oh+|ah+|"
    r"well|no|nope|nah|maybe|perhaps|sorry|wait|please|fine|that'?s (?:all|it|enough|fine)|never ?mind|"
    r"no worries|don't worry|of course|true|indeed|interesting|let me (?:think|see)|hold on|one moment|just kidding|"
    r"(?:ha|he|lo)+l?|lol|done|nothing|no changes?|keep it(?: (?:like|as) (?:(?! but )[^,])*)?|leave it(?: (?:(?! but )[^,])*)?|don't change (?:(?! but )[^,])*|"
    r"i (?:don't|do not) know|idk|dunno|no idea|i'm not sure|not sure|so|then|now|also|again please)"
)
_QUESTION = _rule(
    r"(?:what(?! about| if)|who|whom|whose|why(?! not| don't)|when(?! i| the)|where|which|how(?! about)|do you|did you|are you|were you|"
    r"is (?:it|this|that|there)(?! possible)|was (?:it|this|that)|does|did|have you|has|am i|may i ask|do i|"
    r"can (?:you|i|it) (?:do (?:what|videos?|anything|more|other|that$|this$)|help|hear|understand|speak|tell|talk|explain|see me|save|download|share|print)|"
    r"could you (?:tell|explain|help)|can you (?:draw|paint|make pictures|draw things|create images)$|tell me (?!a picture)|explain|any (?:ideas|suggestions)|"
    r"would you (?:mind telling|say)|what'?s)\b"
)
_NARRATIVE = _rule(
    r"(?:i|we|my \w+|our \w+|he|they)(?:'m|'ve|'re| am| are| was| were| have| had| used to| went| go| think(?! (?:it|a|the|you|we|that))| thought| remember| wonder|"
    r" feel| felt| hope| guess| just| always| never| live| lived| work| visited| saw| know| told| asked| showed| will show)\b.*"
)

_LEADERS = _rule(
    r"(?:(?:ok(?:ay)?|alright|all right|well|so|hmm+|hm|um+|uh+|oh|ah|ooh|aha|hey|hi there|hi|hello|please|now|then|just|kindly|right|"
    r"sure|yes|yeah|yep|finally|next|actually|wait|sorry|oops|ugh|instead|you know(?: what)?|i mean(?= (?:make|add|remove|draw))|"
    r"in fact|on second thought|come to think of it|after all|by the way|btw|if possible|if you can|could be nice|for now|"
    r"this time|let me see|first|first of all|lastly|honestly|hmm no|but|still|yet|though|however|and then|"
    r"apart from that|otherwise|anyway|except(?: that| for)?|(?:only|just)(?= (?:the|a|an|make|change|add|remove|turn|put|in|at|with|on|his|her|its)\b))(?=[\s,:.!-]|$)[\s,:.!-]*)"
)
_MORE = _rule(
    r"(?:and also|also|and|plus|maybe|perhaps|additionally|as well as|together with|along with|oh and|ideally)[\s,]+"
)
_NO = _rule(
    r"(?:no|nope|nah|wrong|not (?:quite|right|that)|change of plans?|correction|that'?s (?:wrong|not (?:it|right|what i .*))|i changed my mind)(?:[\s,.:!-]+|$)"
)
_PRAISE_LEAD = _rule(
    rf"(?:(?:so|very|really|how|oh|that'?s|it'?s) )?(?:{_PRAISE_WORD}|thanks?(?: you)?|love it|like it)\s*(?:[,!.:-]+|but|and now|now)\s*"
)

_WRAPPER = _rule(
    r"(?:"
    r"(?:can|could|should|may|might|would) there be|is there any way (?:to|you can)|"
    r"(?:can|could|would|will|may|might|shall|should) (?:you|we|i|u)(?: (?:please|maybe|possibly|perhaps|kindly|also|just|now|then|instead|(?:have|get|see)(?! (?:it|this|that|them|him|her|rid)\b)|try|be able to|manage to))*"
    r"(?= \S)|"
    r"(?:i|we)(?:'d| would) rather(?= (?:have|see|get))|(?:i|we)(?:'d| would)(?: really| rather| also| just)? (?:like|love|prefer|want|enjoy|appreciate)(?: for)?(?: you)?(?: to)?(?: (?:see|have|get|try|look at|view|order|request|ask for))?|"
    r"(?:i|we)(?: really| just| also| now| only| still| actually)* (?:want|wanna|need|wish(?: for)?|feel like|fancy|am after|am looking for|prefer)(?: you)?(?: to)?(?: (?:see|seeing|have|get|try|look at|view|draw|make|create|paint))?|"
    r"(?:i'm|i am|i was)(?: just)? (?:thinking(?: of| about)?|imagining|picturing|looking for|dreaming of|after)|"
    r"let'?s(?: just)?(?: (?:have|do|try|see|go (?:for|with)|say|get|go))?|let us(?: have| see| try)?|"
    r"is it possible to(?: have| get| see)?|would it be possible to(?: have| get| see)?|would you mind|do you mind|"
    r"how about(?: we)?|what about|what if(?: we| you)?|why not|why don't (?:you|we)|maybe|try(?: to)?(?: with)?|go (?:for|with)|"
    r"please|kindly|i think(?: that)?|i guess|(?:i'd|i would) say|it would be (?:nice|great|cool|lovely|better|good|awesome|fun) (?:to (?:have|see|add)|if (?:there (?:was|were)|you (?:could )?(?:added|add)|we (?:had|could have))|with)|"
    r"i (?:wonder if|hope) you (?:can|could)|can i (?:have|get|see)|could i (?:have|get|see)|may i (?:have|see)|feel free to|go ahead and|make sure (?:that |to )?|be sure to|"
    r"you (?:can|could|should|may|might)(?: also| please)?|do me a favou?r and"
    r")\s+"
)
_DRAW = _rule(
    r"(?:draw|paint|sketch|create|generate|show|make|produce|render|design|imagine|picture|give|illustrate|visuali[sz]e|do|see|get|have)"
    r"(?: (?:me|us|up))*\s+(?=(?:an?|the|some|two|three|four|five|several|many|another|one|my|our|something|[a-z-]+s)\b)"
)
_DRAW_BARE = _rule(
    r"(?:draw|sketch|generate|create|render|illustrate|imagine|visuali[sz]e|show me|draw me|paint me|give me|make me)[\s:]+(?=\S)"
)

_TARGET = r"(?:it|this|that|them|these|those|him|her|everything|(?:the|this|that|these|those|his|her|its|their|my|your|all(?: the)?) (?:[\w'-]+ ){0,3}?[\w'-]+)"

_RESET = _rule(
    r"(?:(?:(?:let'?s |i want |show me |draw(?: me)? |try |do |make |now )*(?:(?:for |to )?(?:something|anything) (?:else|different|new|completely (?:different|new)|totally (?:different|new)|entirely (?:different|new)|other)(?: entirely| altogether)?))"
    r"|start(?:ing)? (?:all )?(?:over|again|afresh|fresh|anew|from scratch)(?: (?:with|from))?|from scratch|"
    r"(?:an? )?(?:brand |completely |totally |whole )?(?:new|different) (?:picture|image|idea|topic|subject|drawing|prompt|one|theme)|"
    r"(?:forget|scrap|discard|ditch|drop|cancel|throw away) (?:it|that|this|about (?:it|that|this)|everything|all (?:of )?(?:that|this|it)|the (?:whole thing|idea|picture|previous .*?|last .*?))|"
    r"never ?mind(?: that| this| it)?(?=[\s,:.]+\S)|reset|clear (?:everything|all|it)|new(?=:)|next(?=:))(?:\b|(?=:))[\s,:.!-]*(?:and |but |then |now |instead |with )*"
)
_FORGET = _rule(r"(?:forget|scrap|never ?mind)(?: about)? ((?:the|my|that|those|these) .+)")
_SAME = (
    r"(?:(?:just |exactly |pretty much |almost |basically |all )?(?:the |this |that )?(?:very |exact )?same(?: (?:one|thing|picture|image|photo|scene|again|prompt|idea|composition|as (?:before|above|it is|it was|last time)))*"
    r"|(?:keep|leave) (?:it|this|that|everything|all|all (?:of )?(?:it|this|that)|the (?:rest|picture|image|scene|composition))(?: (?:else|the same|same|as (?:it )?is|as it was|exactly|alone|like (?:it is|it was|this|that)|unchanged|untouched|intact))*"
    r"|(?:everything|all|the rest|anything)(?: else)?(?: (?:should|must|can|shall|will))?(?: (?:stays?|remains?|is|be|keeps?))(?: (?:the same|same|as (?:it )?is|as it was|unchanged|untouched|like (?:this|that)))?"
    r"|(?:don't|do not|dont|no need to) (?:change|touch|alter)(?: (?:anything|the rest|everything|any of it))(?: else)?|(?:with )?(?:no other|nothing else|without (?:any )?other)(?: changes?| changes| changed)?"
    r"|(?:other|apart|aside) (?:than|from) that|identical|like (?:this|that|it|before|the (?:last|previous) one)|as (?:it )?is)"
)
_KEEP = _rule(_SAME)
_SAME_LEAD = _rule(
    rf"{_SAME}(?:[\s,:;]+(?:but|except(?: that| for)?|only|just|and|with the exception that))*[\s,:;]+(?=(?:but|only|just|with|without|in|at|on|as|by|under|from|during|no|make|add|remove|change|turn|more|less|this time|now|now with|a|an|the)\b)"
    r"|(?:keep|leave) (?:everything|it all|all|the rest)(?: else)?[\s,]+(?:but|and|only)\s+"
)
_ONLY = _rule(r"(?:only|just|except(?: that| for)?|but|now|this time)[\s,:]+")
_COMPLAINT = _rule(
    r"(?:(?:no|hmm+|ugh+|eww*|meh|bah|nah|oh no|yikes|sorry|well|ok(?:ay)?|but)[,\s]+)*(?:"
    r"(?:(?:that|this|it|these|they|the (?:last |new )?(?:picture|result|image|one|drawing|colou?rs?|whole thing))(?:'s|'re| is| are| was| looks?| looked| seems?| feels?| came out| turned out| just)*\s+)?(?:(?:so|very|really|just|quite|pretty|kind of|kinda|a bit|a little|absolutely|totally|rather|all|still)\s+)*"
    r"(?:bad|ugly|terrible|awful|horrible|horrendous|hideous|wrong|weird|strange|boring|off|rubbish|garbage|trash|crap|crappy|disappointing|disgusting|meh|lame|broken|messed up|poor|worse|worst|unrealistic|nonsense|not it)(?: (?:to me|again|somehow|now|than before|job|work|picture|image|result))*"
    r"|(?:(?:that|this|it|these|they|the (?:last |new )?(?:picture|result|image|one|drawing))(?:'s|'re| is| are| was)?\s+)?(?:not|isn't|wasn't|aren't|is not|was not)(?: (?:at all|really|exactly|quite|very|so|that|even|all that|too))*\s+(?:good|great|nice|right|it|there(?: yet)?|pretty|beautiful|happy|satisfied|convincing|convinced|cute|what i .+|how i .+|as i .+|like i .+|to my (?:taste|liking)|my (?:taste|style|thing)|working|enough|impressive|impressed)(?: (?:enough|yet|at all|with (?:it|this|that|the .+)))*"
    r"|(?:it |that |this )?(?:doesn't|does not|didn't|did not|don't|do not) (?:look|seem|feel|work|match|fit)(?: (?:right|good|nice|great|real|realistic|like .+|at all|well|what .+|for me|very .+|that .+))*"
    r"|i (?:really |still |absolutely |just )*(?:don't|do not|didn't|did not|dont|can't say i) (?:really |quite )?(?:like|love|want|enjoy|care for|need) (?:it|this|that|them|these|those|(?:the|this|that) (?:picture|image|result|one|version|drawing)|how .+|what .+)(?: (?:at all|so much|very much|much|either|anymore|one))*"
    r"|i (?:really |absolutely |just )?(?:hate|dislike) (?:it|this|that|them|(?:the|this|that) (?:picture|image|result|one|version|drawing))"
    r"|(?:i'm|i am|im) (?:not (?:happy|satisfied|convinced|sold|impressed|sure about (?:it|this|that))|disappointed|unhappy|dissatisfied)(?: .*)?"
    r"|(?:you |it |that |this )?(?:could|can|should|must) (?:be|do|look) (?:much |way |a lot )?better|(?:do|try) (?:better|harder)|needs? (?:more |some )?(?:work|improvement)|try again harder"
    r"|(?:something|there's something) (?:is |looks |seems |feels )?(?:off|wrong|weird|missing|strange)(?: .*)?|you (?:got|did|made|drew) (?:it|that|this) (?:all )?wrong|what (?:is|the hell is) (?:this|that)|better luck next time"
    r")"
)
_MORE_OF_IT = (
    r"(?:(?:and |some |a few |several |many |a couple |two |three |four |five |even )*more(?: (?:please|of (?:it|this|that|these|those|them|the same|the above|the like)|like (?:it|this|that|these|those|them)|variations?|versions?|pictures?|images?|options?|examples?|tries|of your work))*"
    r"|(?:another|one more|a further|yet another|an additional)(?: (?:one|version|variation|variant|try|attempt|take|go|time|picture|image|photo|drawing|option|alternative|example|shot|round))?(?: (?:of (?:it|this|that|these|those|them)|like (?:it|this|that|these|those|them)|please))*"
    r"|(?:some |a few |show me |other |different )+(?:versions?|variations?|options?|alternatives?|takes?)|(?:a |an )?(?:alternative|variation|variant)s?(?: of (?:it|this|that))?|next(?: one| picture| image| please)?"
    r"|(?:the )?same(?: (?:one|thing|picture|image|again|once more|please))*|similar(?: ones?)?|something similar|repeat(?: (?:it|that|this))?|encore|keep going|continue|go on|again(?: please)?)"
)
_REDRAW_MORE = _rule(
    rf"(?:(?:let'?s |i want |i need |i'd like )?(?:try|do|draw|generate|make|give me|show me|create|have|see|get|paint|render|roll)(?: me)? )?{_MORE_OF_IT}"
)
_REDRAW = _rule(
    r"(?:(?:let'?s )?(?:try|do|draw|generate|make|give me|show me|create|i want) )?(?:it |that |this |me )?(?:again|once (?:more|again)|one more(?: time)?|"
    r"another (?:one|version|variation|try|attempt|take)|regenerate|retry|redo(?: it| this| that)?|reroll|more like this|a (?:new|different) (?:version|variation|take)|same again|the same again)(?: please)?"
)
_UNDO = _rule(
    r"(?:undo(?: (?:that|it|this|the last .*))?|go back|revert(?: .*)?|as (?:it was )?before|the previous (?:one|version)(?: .*)?)"
)
_BACK_TO = _rule(r"(?:(?:go|change|switch|turn|set) (?:it )?back to|return to|back to)\s+(?=\S)")
_BACK = (
    _rule(
        r"(?:i )?(?:put|bring|add|give|get|want|have|need|let) (?:me )?(?P<what>.+?) back(?: (?:in|again|please|there|too|on|into .+))*"
    ),
    _rule(r"(?:put|bring) back (?P<what>.+)"),
    _rule(
        r"(?P<what>(?:the|an?|my|some) .+?)(?<! its)(?<! his)(?<! her)(?<! the)(?<! my) back(?: (?:in|again|please|too))*"
    ),
    _rule(r"restore (?P<what>.+)"),
    _rule(r"(?:undo|revert) (?:removing|the removal of|deleting) (?P<what>.+)"),
    _rule(
        r"(?P<what>(?:the|a|an|my|some) .+?) (?:can|should|may|must) (?:come back|stay(?: after all)?|be back|return)"
    ),
    _rule(r"add (?P<what>(?:the|my) .+?) again"),
    _rule(r"keep (?P<what>(?:the|my|some) .+?)(?: after all)?"),
)
_KEEPING = _rule(
    r"(?:keep|leave|preserve|don't (?:change|touch)|do not (?:change|touch)) (?P<the>the|his|her|its|their|this|that|my)(?P<what> .+?)(?: (?:the same|as (?:it )?is|as it was|as they (?:are|were)|unchanged|alone|intact|untouched|like (?:it|that) is|exactly|please))*"
)
_REMOVE_VERB = (
    _rule(
        r"(?:remove|delete|erase|lose|omit|exclude|hide|ditch|eliminate|get rid of|take (?:out|away|off)|leave out|clear away|do away with|crop out|edit out|wipe out|cut(?: out)?|drop|avoid|skip|kick out|scratch|strip)(?: all)? (?P<what>.+?)(?: (?:from|in|out of|off) (?:it|this|the (?:picture|image|photo|scene|background|foreground|shot|frame|table|sky))| away| again| completely| entirely| too| as well| also)*"
    ),
    _rule(r"take (?P<what>.+?) (?:out|away|off)(?: .*)?"),
    _rule(r"cut (?P<what>.+?) out"),
)
_REMOVE = (
    _rule(r"(?:without|no more|minus|sans|no|with no|free of) (?:any )?(?P<what>.+)"),
    _rule(
        r"(?:i |you |we )?(?:don't|do not|dont|never)(?: really)? (?:want|need|like|include|show|draw|add|put|have|use|paint)(?: to (?:see|have|include))?(?: any| so many| that many)? (?P<what>.+?)(?: (?:in (?:it|there|the picture|this)|there|at all|anymore|any more))*"
    ),
    _rule(r"there (?:should|must|shall)(?:n't| not| never)? be (?:no )(?P<what>.+)"),
    _rule(r"there (?:shouldn't|mustn't|should not|must not) be (?:any )?(?P<what>.+)"),
    _rule(
        r"(?P<what>.+?) (?:should|must|has to|have to|needs? to|can|could) (?:be (?:gone|removed|deleted|dropped|taken out)|go(?: away)?|disappear|leave|vanish)"
    ),
    _rule(
        r"(?P<what>(?:the|those|these|all the) .+?)(?:'s| is| are) (?:a (?:bit|little) |way |far )?too much"
    ),
    _rule(r"(?:i )?(?:hate|dislike) (?P<what>the .+)"),
)
_NUMERAL = r"one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\d{1,2}|a single|a pair of|a couple of|a dozen|several|many|a few|lots of"
_COUNT = _rule(
    rf"(?P<lead>(?:(?:make|draw|show|paint|have|turn|change|set|i want|i need|i said|i meant|i asked for|let there be|there (?:should|must) be|(?:it|that|there) (?:should|must|needs? to|has to) be|(?:it|that) (?:into|to)|it|that|them|into|to|be|with|use|only|just|exactly|rather|better|instead|actually|at least|all)\s+)*)"
    rf"(?P<number>{_NUMERAL})(?: (?:of (?:them|those|these|it)(?: all)?|(?P<what>[\w' -]+?)))?(?: (?:instead|in total|in all|only|altogether|is enough|will do|are enough|please|now|rather than .+|instead of .+|not .+))*"
)
_FEWER = _rule(
    r"(?:(?:there are |there's |there is |it has |that's |i see |i want )?(?:too|way too|so|not so) (?:many|much)|(?:with )?(?:a bit |a lot |much )?(?:fewer|less)(?= [\w'-]+s?$)|reduce the (?:number|amount) of) (?P<what>.+)"
)
_NOT = _rule(
    r"(?:and |but |so )?(?:definitely )?(?:it'?s |that'?s |this is |it should |it should be )?(?:not|isn't|rather than|instead of)(?: be| at| in| on)? (?P<what>.+)"
)
_SWAP = (
    _rule(
        r"(?:change|replace|swap|switch|exchange|trade|convert|transform|turn|modify)(?: out)? (?P<old>.+?) (?:to be|into|to|with|for|by) (?P<new>.+)"
    ),
    _rule(r"substitute (?P<new>.+?) for (?P<old>.+)"),
    _rule(
        r"(?:use |have |with |put |i'd rather have )?(?P<new>.+?) (?:instead of|rather than|in place of|not) (?P<old>.+)"
    ),
    _rule(r"not (?P<old>.+?) but(?: rather)? (?P<new>.+)"),
    _rule(r"prefer (?P<new>.+?) (?:to|over) (?P<old>.+)"),
)
_MEANT = (
    _rule(
        r"(?:i (?:meant|mean|said|wanted|was thinking of|actually meant|actually wanted)(?: to say| it to be)?|(?:it |that |this |they )?(?:should|must|ought to)(?: have|'ve)? (?:be|been)|(?:it'?s|that'?s|they'?re|it is|it was) (?:supposed|meant) to be|make that|rather|better) (?P<new>.+)"
    ),
    _rule(
        r"(?P<new>.+?) (?:would|might|could|will)(?: be| look| work| fit)? (?:even )?(?:better|nicer|cooler|best|good|great|nice|more .+)(?: i think)?"
    ),
    _rule(r"(?P<new>.+?) instead"),
    _rule(r"(?:i )?(?:prefer|rather have) (?P<new>.+)"),
)
_ATTRIBUTE_OF = _rule(
    r"(?:change|turn|switch|set|make|let) (?:the |its |his |her |their )?(?:colou?r|style|time(?: of day)?|season|weather|medium|lighting|light|mood)(?: (?:of|for) (?P<target>.+?))?(?: (?:to|into|be|as))? (?P<value>.+)"
)
_ATTRIBUTE_TO = _rule(
    r"(?:the |its |his |her |their )?(?:colou?r|style|time(?: of day)?|season|weather|medium|lighting|light|mood)(?: (?:of|for) (?P<target>.+?))? (?:to|into) (?P<value>.+)"
)
_BACKGROUND = _rule(
    r"(?:(?:change|replace|switch|swap|make|set|turn|put)?\s*)(?:the |its )?background(?: (?:to|with|into|for|should be|be|is|as))+ (?P<value>.+)"
    r"|(?:use|with|add|on|against|in front of) (?P<with>an? .+?) background"
)
_MAKE = _rule(
    rf"(?:make|turn|paint|colou?r|dye|tint|render|get|keep|have|do) (?P<rest>{_TARGET} .+)"
)
_IS = _rule(
    r"(?P<target>(?:it|this|that|everything|(?:the|his|her|its|their|my) (?:[\w'-]+ ){0,2}?[\w'-]+|[\w'-]+(?= (?:should|must|needs? to|has to) be)))(?: (?:should|must|could|can|needs to|need to|has to|might|shall|will))?(?:'s| be| is| are| look| looks| was| were) (?P<value>.+)"
)
_LET = _rule(
    rf"(?:have|let|make) (?P<target>{_TARGET}) (?P<verb>wear|hold|carry|ride|play|sit|stand|run|fly|jump|dance|sing|read|eat|drink|sleep|smile|laugh|swim|look(?= (?:at|up|down|away|back|out|over)\b)|wave|walk|drive|lie|fight|kiss|hug|cry|breathe)(?P<rest>\b.*)"
)
_GIVE = _rule(
    r"(?:give|lend|get|buy) (?P<target>him|her|it|them|this (?:[\w'-]+ )?[\w'-]+|that (?:[\w'-]+ )?[\w'-]+|the (?:[\w'-]+ )?[\w'-]+|my [\w'-]+) (?P<what>(?:an?|some|the|two|three|four|more|[\w-]+) .+|[\w-]+)"
)
_PUT = _rule(
    r"(?:put|place|move|set|relocate|position|stand|sit) (?P<target>it|this|that|them|him|her|(?:the|this|that|these|those|my) .+?|everything) (?P<where>(?:in|on|at|under|near|by|beside|next to|behind|in front of|inside|into|onto|between|among|against|over|above) .+)"
)
_PUT_ON = _rule(
    r"(?:put|place) (?P<what>(?:an?|some|two|three|\w+) .+?) on (?P<target>him|her|it|them|his head|her head|its head)"
)
_DO = _rule(
    r"(?:do|draw|paint|show|have|see|get|shoot|take|picture) (?:it|this|that|them|him|her) (?P<how>(?:in|at|on|by|under|with|from|during|near|as|like) .+)"
)
_ADD_TO = _rule(
    r"(?:add|attach|give|draw|put) (?P<what>.+?) (?:to|on|onto) (?P<target>(?:the|this|that|my|his|her|its|their) (?:[\w'-]+ )?[\w'-]+)"
)
_VERBS = {
    "brighten": "bright", "lighten": "bright", "darken": "dark", "dim": "dark", "sharpen": "sharp", "colorize": "in colour",
    "colourise": "in colour", "colorise": "in colour", "colourize": "in colour", "enlarge": "big", "shrink": "small",
    "zoom in": "close-up", "zoom out": "wide shot", "soften": "soft light", "modernize": "modern", "modernise": "modern",
}  # fmt: skip
_VERB = _rule(rf"(?P<verb>{'|'.join(_VERBS)})(?: (?:on )?(?P<target>.+?))?(?: up| down)?")
_TONE_DOWN = _rule(r"tone (?:down (?:the )?.+|(?:.+ )?down)")
_BLUR = _rule(r"blur(?: out)? (?:the )?(?P<what>.+)")
_ADD = (
    _rule(r"(?:use|using|apply)(?: the colou?rs?)? (?P<what>.+)"),
    _rule(
        r"(?:add|include|insert|throw in|put in|put|place|plus|give it|give me|mix in|sprinkle in|bring in)(?: in)? (?P<what>.+?)(?: to (?:it|this|the (?:picture|image|photo|scene|mix))| too| as well| also| in there| there| please)*"
    ),
    _rule(
        r"(?:there (?:should|could|must|might) (?:also )?be|there(?:'s| is| are| was| were)|(?:it )?(?:needs?|could use|should have|should include|must have|has))(?: also)? (?P<what>.+?)(?: (?:too|as well|also|in it|there))*"
    ),
    _rule(r"(?P<what>.+?) (?:too|as well|also)"),
    _rule(r"(?:a bit |a little |some |even |lots |much )?more (?:of )?(?P<more>.+)"),
    _rule(r"(?:i'd |i would )?(?:also (?:like|want|have|add)) (?P<what>.+)"),
    _rule(r"(?P<what>another .+|one more .+|a few more .+|some more .+)"),
)
_SET_TOO = _rule(r"(?:and )?(?P<target>(?:the|his|her|its|their|my) .+?) (?:to|into) (?P<value>.+)")
_STYLE = _rule(
    r"(?:(?:make|turn|draw|render|paint|do|redo|transform|convert|try|use|change|apply|give|have) )?(?:(?:it|this|that|them|the (?:photo|picture|image|style|whole thing|scene)|this (?:photo|picture|image)|everything) )?"
    r"(?:(?:look(?:s|ing)?|be|to|into|to be) )*(?P<style>(?:(?:in|with|into) (?:the |an? )?(?:style|manner|look|feel) of .+|(?:(?:in|with|into) )?(?:the |an? )?[\w'’ -]{2,60}?[ -](?:style|aesthetics?|vibes?|look)|as if .* by .+|as an? .+|like (?:an? )?.+|into an? .+))"
)
_TOO = _rule(
    r"(?:(?P<target>it|this|that|the [\w' -]+?|(?:[\w'-]+ )?[\w'-]+(?= (?:is|are|looks?|seems?|feels?)\b))(?:'s|'re| is| are| looks?| seems?| feels?)?\s+)?(?:a (?:bit|little) |way |far |slightly )?too (?P<what>[\w-]+)(?: .*)?"
)
_LESS = _rule(
    r"(?:make (?P<target>.+?) )?(?:a (?:bit|little) |much |slightly |somewhat |way )?less (?P<what>[\w-]+)"
)

SPLIT = Pattern(
    r"\s*,?\s+(?:but|however|although|though)\s+(?=\S)"
    r"|\s*,?\s+(?:and(?: then| also| please)?|then|also)\s+(?=(?:add|remove|make|change|turn|put|give|replace|delete|swap|get rid|take|paint|"
    r"set|include|without|lose|drop|erase|no|don't|let|bring|move|place|draw|use|switch|keep|leave)\b)"
    r"|\s*,\s*",
    re.IGNORECASE,
)
_INLINE_NOT = Pattern(
    r"\s+(?:without|with no|and no|but no)\s+(?:any\s+)?(?P<what>[^,]+?)(?=\s+(?:in|at|on|under|with)\s|$)",
    re.IGNORECASE,
)
_TAIL = _rule(
    r"(?:[\s,]+(?:please|pls|plz|thanks|thank you|thx|if you can|if possible|ok(?:ay)?|for me|right|now|then|if that'?s ok(?:ay)?|i think|maybe|perhaps|actually|this time|would be (?:nice|great|cool|lovely|perfect)|will you|could you|can you|though|after all|haha|lol))+[\s.!?]*$"
)

Knows = Callable[[str], bool]
"""Whether the picture shows what a phrase names; for the empty phrase, whether there is any."""

_HERE = _rule(
    r"\s+(?:in|on|of|from) (?:this|that|the|my) (?:photo|picture|image)(?:graph)?(?=\s|$)(?! of)"
)
_AUXILIARIES = frozenset("is are was do does did can could would will should has have".split(" "))
_LONGEST = 600
"""Characters of a sentence that can be an instruction: a longer one describes a picture."""


def operations(message: str, knows: Knows) -> list[Operation]:
    """The operations of a message in order; `knows(phrase)` says if the picture shows it."""
    found: list[Operation] = []
    message = _INSTEAD_OF.sub(_turned_round, message)
    for sentence in re.split(r"(?<=[.!?;…])\s+|\n+|\s+(?:-{1,2}|–|—)\s+", message):
        asked = sentence.rstrip().endswith("?")
        text = _HERE.sub("", sentence.strip(" \t.!?;,…~"))
        if len(text) > _LONGEST:
            found.append(Draw(text))
        elif text:
            found += _sentence(text, asked, knows, found)
    return [_understood(operation) for operation in join_corrections(found, knows)]


_INSTEAD_OF = _rule(
    r"\b(?:instead|in place) of (?:an? |the |being )?(?P<old>[\w'-]+(?: [\w'-]+){0,2}?)(?:\s*,\s*|\s+(?=(?:make|use|have|draw|put|add|let|i)\b))(?:(?:i (?:want|would like|need)|use|draw|have|let's have|put|show(?: me)?) )?(?P<new>[^.!?;,]+)"
)


def _turned_round(match: re.Match[str]) -> str:
    """ "instead of a sofa, a chair" as "a chair instead of a sofa"."""
    if re.match(r"(?:make|change|turn|paint|add|let|set)\b", match["new"], re.IGNORECASE):
        return match["new"]
    return f"{match['new']} instead of {match['old']}"


def _understood(operation: Operation) -> Operation:
    """The operation, unless it would draw words that are about the conversation, or not English."""
    texts = [getattr(operation, name, None) for name in ("text", "old", "new", "value", "target")]
    unread = [text for text in texts if isinstance(text, str) and FOREIGN.search(text)]
    if unread and not isinstance(operation, Chat):
        return Chat("unclear", unread[0])
    match operation:
        case (
            Addition(text)
            | Attach(_, text)
            | Place(_, text)
            | Restyle(text)
            | Replace(_, text)
            | Set(_, text)
        ) if doubtful(text):
            return Chat("unclear", text)
        case Set(_, text) if _EMPTY_VALUE.fullmatch(
            re.sub(r"^(?:more|much|even|a bit) ", "", text)
        ):
            return Chat("complaint")
    return operation


def _sentence(text: str, asked: bool, knows: Knows, earlier: list[Operation]) -> list[Operation]:
    whole = _chat(text, asked)
    if whole:
        return [whole]
    if _REDRAW_MORE.fullmatch(_TAIL.sub("", unwrapped(text)).strip(" ,:")):
        return [Redraw()]
    if match := _RESET.match(text):
        rest = text[match.end() :].strip(" ,:.-")
        return [Reset(), *(_sentence(rest, asked, knows, [Reset()]) if rest else [])]
    found: list[Operation] = []
    corrected = False
    for clause in SPLIT.split(text):
        clause = clause.strip(" ,:")
        if not clause:
            continue
        if _NO.fullmatch(clause):
            corrected = True
            continue
        before = [*earlier, *found]
        found += _clause(clause, asked, corrected, knows, before)
    return found


def unwrapped(clause: str) -> str:
    """The clause without words of request around it: "the first one" of "can we have the first one"."""
    for _ in range(8):
        start = clause
        clause = _TAIL.sub("", clause).strip(" ,:")
        for lead in (_LEADERS, _MORE, _WRAPPER):
            if match := lead.match(clause):
                clause = clause[match.end() :]
        if clause == start:
            break
    return clause


def _chat(text: str, asked: bool) -> Chat | None:
    text = text.strip(" ,.!?:")
    kinds: tuple[tuple[ChatKind, Pattern], ...] = (
        ("greeting", _GREETING),
        ("thanks", _THANKS),
        ("praise", _PRAISE),
        ("complaint", _COMPLAINT),
        ("statement", _ACKNOWLEDGE),
    )
    for kind, pattern in kinds:
        if pattern.fullmatch(text):
            return Chat(kind)
    if _UNDO.fullmatch(text):
        return Chat("undo")
    bare = _LEADERS.sub("", text)
    if _QUESTION.match(bare) and (
        asked or not bare.lower().startswith(("where", "when", "which", "does", "has"))
    ):
        return Chat("question")
    if _NARRATIVE.fullmatch(bare) and not _WRAPPER.match(bare) and not _MEANT[0].fullmatch(bare):
        return Chat("statement")
    return None


def _clause(
    clause: str, asked: bool, corrected: bool, knows: Knows, before: list[Operation]
) -> list[Operation]:
    original = clause
    fresh = more = False
    if _REDRAW_MORE.fullmatch(_TAIL.sub("", clause)):
        return [Redraw()]
    for _ in range(8):
        start = clause
        if match := _SAME_LEAD.match(clause):
            clause = clause[match.end() :]
            clause = _ONLY.sub("", clause, count=1) if _ONLY.match(clause) else clause
        clause = _TAIL.sub("", clause).strip(" ,:")
        if match := _NO.match(clause):
            rest = clause[match.end() :]
            if rest and (not match.group().lower().startswith("no ") or _REDO_NO.match(clause)):
                corrected, clause = True, rest
        clause = _PRAISE_LEAD.sub("", clause, count=1) if _PRAISE_LEAD.match(clause) else clause
        clause = _LEADERS.sub("", clause, count=1) if _LEADERS.match(clause) else clause
        if match := _MORE.match(clause):
            more, clause = True, clause[match.end() :]
        if match := _WRAPPER.match(clause):
            rest = clause[match.end() :]
            fresh = fresh or bool(re.search(r"\b(?:see|do)\b", match.group(), re.IGNORECASE))
            if re.search(r"\bprefer\b", match.group(), re.IGNORECASE) and not re.match(
                r"(?:it|the|his|her|its|their|this|that)\b", rest, re.IGNORECASE
            ):
                corrected = True
            clause = rest
        if clause == start:
            break
    if not clause:
        return []
    if match := _BACK_TO.match(clause):
        corrected, clause = True, clause[match.end() :]
    if chat := _chat(clause, asked and clause == original):
        return [chat]
    if _REDRAW_MORE.fullmatch(clause):
        return [Redraw()]
    if _KEEP.fullmatch(clause):
        return [Chat("statement")]
    if match := _RESET.match(clause):
        rest = clause[match.end() :].strip(" ,:.-")
        return [Reset(), *(_clause(rest, asked, False, knows, [Reset()]) if rest else [])]
    found = _by_rule(clause, knows)
    if found is not None:
        return found
    return _unruled(clause, asked, corrected, fresh, more, knows, before)


_REDO_NO = _rule(
    r"no (?=(?:an?|the|i|make|it|should|wait|not|actually|sorry|change|use|put|draw)\b)"
)


def _by_rule(clause: str, knows: Knows) -> list[Operation] | None:
    """The operations of a clause whose verb says what it wants."""
    for rule in (_redo, _count, _remove, _change, _add, _look):
        found = rule(clause, knows)
        if found is not None:
            return found
    return None


def _redo(clause: str, knows: Knows) -> list[Operation] | None:
    if _REDRAW.fullmatch(clause):
        return [Redraw()]
    if (match := _KEEPING.fullmatch(clause)) and (
        knows(match["what"]) or not match["the"].lower().startswith("the")
    ):
        return [Chat("statement")]
    for pattern in _BACK:
        if match := pattern.fullmatch(clause):
            return [Addition(match["what"], back=True)]
    if match := _FORGET.fullmatch(clause):
        return [Removal(match[1], verb=True)] if knows(match[1]) else [Reset()]
    return None


def _count(clause: str, knows: Knows) -> list[Operation] | None:
    match = _COUNT.fullmatch(clause)
    if match is None:
        return None
    number, what = match["number"].lower(), match["what"]
    if what is None:
        return [Count(number)] if match["lead"] or number != "one" else None
    said = words(what)
    if any(word in PREPOSITIONS for word in said) or not knows(what):
        return None
    if "more" in said:
        return [Addition(f"{number} {what}")]
    return [Count(number, what)]


def _remove(clause: str, knows: Knows) -> list[Operation] | None:
    if (
        (match := _FEWER.fullmatch(clause))
        and not is_adjective(match["what"].lower())
        and match["what"].lower() not in opposites()
    ):
        return [Fewer(match["what"])]
    for pattern in _REMOVE_VERB:
        if match := pattern.fullmatch(clause):
            return [Removal(part, verb=True) for part in _listed(match["what"])]
    for pattern in _REMOVE:
        if match := pattern.fullmatch(clause):
            what = match["what"]
            if what.lower() in ("it", "this", "that", "idea", "problem"):
                return [Chat("statement")]
            return [Removal(part) for part in _listed(what)]
    return None


def _change(clause: str, knows: Knows) -> list[Operation] | None:
    if match := _BACKGROUND.fullmatch(clause):
        return [Set("background", match["value"] or match["with"])]
    if match := _ATTRIBUTE_OF.fullmatch(clause) or _ATTRIBUTE_TO.fullmatch(clause):
        return [Set(match["target"], match["value"])]
    if match := _TOO.fullmatch(clause):
        return [Set(match["target"], f"less {match['what']}")]
    if match := _LESS.fullmatch(clause):
        return [Set(match["target"], f"less {match['what']}")]
    if match := _LET.fullmatch(clause):
        return [Attach(match["target"], gerund(match["verb"]) + match["rest"])]
    for pattern in _SWAP:
        if match := pattern.fullmatch(clause):
            old, new = match["old"], match["new"]
            if is_value(new) or _is_image(old):
                return [Set(old, new)]
            return [Replace(old, new)]
    if match := _NOT.fullmatch(clause):
        return [Not(match["what"])]
    for pattern in _MEANT:
        if match := pattern.fullmatch(clause):
            new = match["new"]
            return _nested(new) or [Set(None, new) if is_value(new) else Replace(None, new)]
    if match := _DO.fullmatch(clause):
        how = match["how"]
        return [Restyle(how) if role(how) in ("style", "medium", "palette") else Set(None, how)]
    if match := _VERB.fullmatch(clause):
        effect, whom = _VERBS[match["verb"].lower()], match["target"]
        whole = whom is None or _is_image(whom) or effect in ("in colour", "soft light")
        return [Set(None if whole else whom, effect)]
    if _TONE_DOWN.fullmatch(clause):
        return [Set(None, "muted colours")]
    if match := _BLUR.fullmatch(clause):
        return [Addition(f"blurry {match['what']}")]
    if (match := _ADD_TO.fullmatch(clause)) and not _is_image(match["target"]):
        what, target = match["what"], match["target"]
        if not re.search(
            r"\b(?:background|foreground|scene|sky|table|wall|ground|floor)\b", target, re.I
        ):
            return [Attach(target, f"with {what}")]
    if match := _PUT_ON.fullmatch(clause):
        return [Attach(match["target"], f"with {match['what']}")]
    if match := _PUT.fullmatch(clause):
        return [Place(match["target"], match["where"])]
    if match := _GIVE.fullmatch(clause):
        return [Attach(match["target"], f"with {match['what']}")]
    if match := _MAKE.fullmatch(clause):
        found: list[Operation] = []
        for part in re.split(r"\s+and\s+(?=(?:the|its|his|her|their|my)\s)", match["rest"]):
            target, value = _target_and_value(part)
            if value:
                found.append(Set(target, value))
        return found or None
    if (match := _IS.fullmatch(clause)) and (
        is_value(match["value"])
        or knows(match["target"])
        or (_is_image(match["target"]) and match["value"].lower().startswith(("a ", "an ")))
    ):
        return [Set(match["target"], match["value"])]
    return None


def _nested(text: str) -> list[Operation] | None:
    if match := _NOT.fullmatch(text):
        return [Not(match["what"])]
    return None


def _add(clause: str, knows: Knows) -> list[Operation] | None:
    for pattern in _ADD:
        if match := pattern.fullmatch(clause):
            if "more" in pattern.groupindex:
                what = match["more"]
                if is_adjective(words(what)[-1]) if words(what) else True:
                    return [Set(None, f"more {what}")]
                return [Addition(f"many {what}") if category(what) else Set(None, f"more {what}")]
            what = match["what"]
            if re.match(r"(?:an? )?(?:more|less) ", what, re.IGNORECASE) and is_adjective(
                words(what)[-1]
            ):
                return [Set(None, what)]
            return _with_removals(what, Addition)
    return None


def _look(clause: str, knows: Knows) -> list[Operation] | None:
    if match := _STYLE.fullmatch(clause):
        style = match["style"]
        if (
            not re.match(r"as an? |into an? ", style, re.I)
            or role(re.sub(r"^\w+ ", "", style)) == "medium"
        ):
            return [Restyle(style)]
        if re.match(r"into an? ", style, re.IGNORECASE):
            return [Replace(None, style.split(" ", 1)[1])]
    if role(clause) in ("medium", "style", "palette"):
        return [Restyle(clause)]
    return None


_CONTINUOUS = _rule(
    r"^((?:an?|the|some|his|her|its|their|my|two|three) (?:[\w'-]+ ){0,2}?[\w'-]+) (?:is|are) (?=\w+ing\b)"
)


def _unruled(
    clause: str,
    asked: bool,
    corrected: bool,
    fresh: bool,
    more: bool,
    knows: Knows,
    before: list[Operation],
) -> list[Operation]:
    """The operations of a clause that only names something."""
    if match := _DRAW.match(clause) or _DRAW_BARE.match(clause):
        fresh = fresh or not re.match(
            r"(?:show (?!me)|give(?! me)|do|see|get|have)\b", clause, re.I
        )
        clause = clause[match.end() :]
        if found := _by_rule(clause, knows):
            return found
    clause = _CONTINUOUS.sub(r"\1 ", clause)
    last = before[-1] if before else None
    if isinstance(last, Removal) and (
        last.verb or clause.lower().startswith(("or ", "nor ")) or " or " in clause
    ):
        return [Removal(part, verb=last.verb) for part in _listed(clause)]
    if (match := _SET_TOO.fullmatch(clause)) and (
        isinstance(last, Set) or is_value(match["value"])
    ):
        return [Set(match["target"], match["value"])]
    if isinstance(last, Addition):
        return _with_removals(clause, Addition)
    if corrected:
        return [Set(None, clause) if is_value(clause) else Replace(None, clause)]
    if more or re.match(r"(?:with|featuring|including|having)\s", clause, re.IGNORECASE):
        return _with_removals(
            re.sub(r"^(?:featuring|including|having)\s+", "with ", clause, flags=re.I), Addition
        )
    first = words(clause)[0] if words(clause) else ""
    if is_value(clause) and not isinstance(last, Draw):
        return [Set(None, clause)]
    if (
        asked
        and len(words(clause)) > 3
        and first not in DETERMINERS
        and first not in PREPOSITIONS
        and not fresh
        and first in _AUXILIARIES
    ):
        return [Chat("question")]
    if not fresh and doubtful(clause) and (knows("") or category(clause) is None):
        return [Chat("unclear", clause)]
    return _with_removals(clause, lambda text: Draw(text, fresh=fresh))


def _with_removals(text: str, wanted: Callable[[str], Operation]) -> list[Operation]:
    """What is wanted, and after it what the same words exclude ("a beach without people")."""
    removed: list[Operation] = []

    def keep(match: re.Match[str]) -> str:
        removed.extend(Removal(part) for part in _listed(match["what"]))
        return ""

    text = _INLINE_NOT.sub(keep, f" {text}").strip()
    return [*([wanted(text)] if text else []), *removed]


def _listed(text: str) -> list[str]:
    return [
        part
        for part in re.split(r"\s*,\s*|\s+(?:and|or|nor)\s+(?:the |any |no )?", text.strip())
        if part
    ]


_ABOUT = _rule(
    r".*\b(?:i|i'(?:m|d|ve|ll)|we|you|your|what|why|how|same|mind|ones|else|versions?|prompt|results?|anything|"
    r"nothing|whatever|prefer(?:red)?|liked|again|don't|doesn't|isn't|wasn't|didn't|can't|won't|aren't|because|"
    r"previous(?:ly)?|earlier|(?:the|this|that|which|first|last|other|another|second|third|original) one|less of|"
    r"(?:(?<!at )(?<!of )(?<!with )(?<!to )(?<!by )(?<!behind )(?<!like )me))\b.*"
    r"|(?:something|anything|somehow|it|he|she|they|it's|that's)\b.*"
    r"|(?:.*\s)?(?:less|more|(?:(?<!in )(?<!on )(?<!of )(?<!by )(?<!at )(?<!to )(?<!with )(?<!behind )(?<!around )(?<!under )(?<!near )(?<!over )(?<!above )(?<!beside )(?<!inside )(?<!from )(?:it|that|this))|things?|something|stuff|(?:the|this|that|my|your) (?:way|picture|image|photo))"
    r"|(?:(?!\b(?:who|that|which|where)\b).)*\b(?:should|must|would|could|can|will|has|have|had|does|did|feels?|seems?|wants?|needs?)\b.*"
)
_EMPTY_VALUE = _rule(
    r"(?:pop|work|better|nicer|prettier|cooler|right|different|special|good|great|nice|correct|perfect|again|stand out|happen|best|interesting|properly)"
)


def doubtful(text: str) -> bool:
    """Whether words are about the conversation rather than for the picture: "the way I had it"."""
    return _ABOUT.fullmatch(text.strip()) is not None


def join_corrections(found: list[Operation], knows: Knows) -> list[Operation]:
    """Join "a fox" and "not a dog" into one replacement, and lists of words into one text."""
    pending = list(found)
    joined: list[Operation] = []
    index = 0
    while index < len(pending):
        operation = pending[index]
        following = pending[index + 1] if index + 1 < len(pending) else None
        match operation, following:
            case (Not(old), Draw(new) | Replace(None, new) | Set(None, new)) if knows(old):
                pending[index : index + 2] = [_swapped(old, new)]
                continue
            case (Draw(new) | Replace(None, new) | Set(None, new), Not(old)) if knows(old):
                pending[index : index + 2] = [_swapped(old, new)]
                continue
            case (Replace(_, new), Not(_)) | (Set(_, new), Not(_)):
                del pending[index + 1]
                continue
            case (Not(old), _):
                pending[index] = Removal(old)
                continue
            case (Draw(text, fresh, left), Draw(more, _, right)):
                unknown = "、".join(filter(None, (left, right)))
                pending[index : index + 2] = [Draw(f"{text}, {more}", fresh, unknown)]
                continue
            case _:
                joined.append(operation)
        index += 1
    return joined


def _swapped(old: str, new: str) -> Operation:
    return Set(None, new) if is_value(new) and is_value(old) else Replace(old, new)


def is_value(text: str) -> bool:
    """Whether a text is an attribute (a colour, a season, a style) rather than a thing."""
    lowered = re.sub(
        r"^(?:(?:a (?:bit|little)|slightly|much|very|really|completely|totally|all|even|early|late)\s+)+",
        "",
        text.lower().strip(),
    )
    found = words(lowered)
    if not found:
        return False
    if role(lowered) in ("time", "season", "weather", "medium", "style", "palette"):
        return True
    if len(found) <= 3 and is_colour(found[-1]):
        return all(
            word in SHADES or word in ("and", "in") or is_adjective(word) for word in found[:-1]
        )
    if found[0] in ("more", "less") and len(found) <= 3:
        return True
    return len(found) <= 2 and (is_adjective(found[-1]) or comparative(found[-1]) is not None)


def comparative(word: str) -> str | None:
    """The adjective of a comparative: "big" of "bigger"."""
    if word in ("lighter", "darker"):
        return "bright" if word == "lighter" else "dark"
    if not word.endswith("er") or len(word) < 5:
        return None
    for stem in (word[:-3] + "y" if word.endswith("ier") else "", word[:-2], word[:-1], word[:-3]):
        if stem and is_adjective(stem):
            return stem
    return None


def gerund(verb: str) -> str:
    """The participle of a verb: "holding" of "hold"."""
    special = {
        "sit": "sitting",
        "run": "running",
        "swim": "swimming",
        "lie": "lying",
        "hug": "hugging",
    }
    lowered = verb.lower()
    return special.get(lowered) or (lowered[:-1] if lowered.endswith("e") else lowered) + "ing"


def _is_image(text: str) -> bool:
    return bool(
        re.fullmatch(
            r"(?:it|this|that|everything|(?:the|this|that|my) (?:whole )?(?:photo|picture|image|scene|drawing|thing)(?:graph)?)",
            text.strip(),
            re.IGNORECASE,
        )
    )


def _target_and_value(text: str) -> tuple[str | None, str | None]:
    """Split "the cat light blue" where the value begins."""
    found = text.split()
    if found[0].lower() in (
        "it",
        "this",
        "that",
        "them",
        "these",
        "those",
        "him",
        "her",
        "everything",
    ) and (
        len(found) > 1
        and (
            found[0].lower() not in ("this", "that", "these", "those", "her")
            or is_value(" ".join(found[1:]))
        )
    ):
        value = " ".join(found[1:])
        return found[0], value
    for index in range(2, len(found)):
        rest = " ".join(found[index:])
        if is_value(rest) or re.match(
            r"(?:an?|look|looks|like|more|less|be|into|in|on|with|to be|wearing|(?!thing)\w+ing)\b",
            rest,
            re.IGNORECASE,
        ):
            return " ".join(found[:index]), rest
    if len(found) > 2:
        return " ".join(found[:-1]), found[-1]
    return None, None
