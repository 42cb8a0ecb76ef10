"""What a Chinese message asks for, with its words put into English."""

# ruff: noqa: E501 (word lists and patterns read best in wide lines)

from __future__ import annotations

import re
from collections.abc import Callable

from robotchat.prompt.rules.english import is_value, join_corrections
from robotchat.prompt.rules.lexicon import bare, chinese, plural, simplified, singular
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
    FOREIGN,
    PREPOSITIONS,
    Piece,
    Scene,
    is_adjective,
    role,
    stems,
    with_article,
    words,
)
from robotchat.prompt.rules.translation import (
    CJK,
    MEASURES,
    NUMBERS,
    PLACES,
    segment,
    translate,
)

LONGEST_CLAUSE = 150
"""Characters of a clause that can be an instruction: a longer one describes a picture."""

PUNCTUATION = str.maketrans(",。!?:;()【】~・", ",.!?:;()[]~ ")
_START = Pattern(
    r"(?:请问一下|请你?|麻烦你?|劳驾|帮我?(?:们)?(?:忙)?|给我(?:们)?|替我|为我|你?能不能|你?能否|你?可不可以|你?可否|你?可以|你?能|要不然?|不如|那么|那就|那|"
    r"就|我觉得|我认为|我(?:还是)?(?:更)?(?:想要?|希望|要|需要|喜欢)(?=.)|希望|想要?(?=.)|还是|现在|然后|接着|另外|此外|同时|最后|顺便|好的?[,\s]|嗯++|哦|啊|呃|哎|对了|其实|"
    r"不过|但是|但|可是|只是|而且|并且|最好|尽量|稍微|你|先|直接|干脆|应该|得|再次|记得|哈++|哇)[,\s]*"
)
_MORE = Pattern(r"(?:再|还要?|也要?|另外|外加|加上|以及|还有|并)(?=.)")
_DRAW = Pattern(
    r"(?:画|绘制|生成|创作|设计|做|制作|来|看|弄|搞|整|出|给我看|看看|看到|见|拍|渲染)(?:出|一下)?(?=(?:[一两三四五六七八九十几这那\d]|个|张|幅|只|点|些|有|的是|[^着了完得成])+)"
)
_END = Pattern(
    r"(?:[,\s]*(?:吗|呢|吧|啊|呀|哦|哈++|嘛|啦|咯|哟|喔|好吗|好不好|可以吗|行吗|行不行|可以不|好了|就好|就行|即可|谢谢你?|一下|的话|看看|试试|拜托|才对|更好|才行|怎么样|如何|~))+$"
)
_GREETING = Pattern(
    r"(?:你好|您好|嗨|哈喽|哈啰|hello|hi|hey|早上好|晚上好|下午好|中午好|早安|晚安|早|在吗|在不在|再见|拜拜|大家好|你们好|好久不见|很高兴认识你)(?:呀|啊|吗|哦|机器人|小助手)*",
    re.IGNORECASE,
)
_THANKS = Pattern(
    r"(?:好的?|非常|十分|太|真的?|很)*(?:谢谢|多谢|感谢|辛苦|谢啦|谢了|感恩|麻烦你了|thanks|thx|3q).{0,8}",
    re.IGNORECASE,
)
_PRAISE = Pattern(
    r"(?:哇++|哈++|呵++|嘿++|嘻++|噢|喔|天哪|天啊|我(?:很|好|太|非常|特别|超|真|最)?(?=喜欢|爱|满意)|这(?:张|个|幅|只|样|也|次|下)?|那(?:张|个)?|它|画(?:得|的)|图(?:片)?|画面|照片|效果|颜色|真(?:的|是)?|实在|简直|"
    r"好|太|很|非常|特别|超级?|挺|还|更|这么|可|得|也|就|都|是|觉得|看起来|看着|做得|确实|果然|相当|嗯|比刚才|多么|有点|你(?:真|太|好)|已经){0,7}"
    r"(?:好看|漂亮|美|美丽|棒|赞|厉害|不错|喜欢|爱了|可爱|完美|优秀|牛|酷|满意|好|惊艳|有趣|好玩|强|给力|萌|绝|ok|行|可以|好笑|搞笑|聪明|到位|理想|逼真|有感觉|有意境|精彩|震撼)"
    r"(?:了|啊|呀|吧|哦|哈|呢|极了|死了|多了|的|你|它|这张|这个|这幅|这样|这只|啦|耶|嘛|哇|得很|不得了|到爆|画|图|[!~]){0,5}",
    re.IGNORECASE,
)
_ACKNOWLEDGE = Pattern(
    r"(?:好的?|嗯++|哦++|噢|行|是的?|对的?|对|可以|知道了|明白了?|了解|没事|没关系|没问题|算了|等等|等一下|稍等|哈++|呵++|嘿++|哎呀?|唉|啊++|呃|不用了|不了|没有了|就这样吧?|就这个吧?|保持不变|不(?:要)?变|"
    r"先这样吧?|随便|都行|不知道|不好意思|对不起|抱歉|真的|当然|这样啊|原来如此|让我想想|我想想|我看看|看看|请|麻烦了|拜托了?|那|然后|还有|另外|现在|怎么说呢)(?:啊|呀|吧|哦|呢|了|的)*"
)
_THE_REST = r"(?:(?:其他|其它|其余|别的|剩下|剩余|余下)(?:的)?(?:地方|部分|元素|内容|东西|细节|方面)?|(?:画面|构图|内容|人物|主体|场景|背景|整体|图片?|风格|姿势|动作|表情|所有|全部|一切|什么|啥)(?:的)?)"
_UNCHANGED = r"(?:(?:保持|维持)(?:不变|原样|一致|一样|现状|原来的?样子?|原状|不动)?|不变|不动|别动|别变|别改|别碰|不要动|不要变|不要改|不用变|不用动|不用改|不需要改|不改|照旧|照样|一样|原样|留着|都留着|保留)"
_KEEP = Pattern(
    rf"(?:请|让|把|将|只要|但)?{_THE_REST}(?:全部|全|都|就|也|请|还是|仍然?|依旧|和(?:刚才|之前|原来)|跟(?:刚才|之前|原来)){{0,3}}{_UNCHANGED}(?:的|了|吧|就好|就行|即可){{0,2}}"
    r"|(?:同样|一样|相同|一模一样|完全一样|类似)(?:的)?(?:那|这)?(?:张|幅|个)?(?:图片?|画面?|照片|内容|构图|场景|东西|主体|人物|风格)?"
    r"|(?:和|跟|与|像|同|按照?)(?:刚才|之前|上一?张|上面|前面|原来|这张|上张|刚刚)(?:的|那张|那样){0,2}(?:图片?)?(?:保持)?(?:一样|相同|一致|差不多|来)?"
    rf"|(?:不要|别|不用|不)(?:改变?|动|变|碰)(?:任何)?{_THE_REST}"
    r"|(?:请|把|让|将)?(?:保持|维持)?[^,变改换]{1,10}?(?:保持|维持)?(?:都|也)?(?:原样|不变|不动|别动|别变|不要变|不要动|别改|不要改|不用改|不用变)(?:就好|就行|了)?"
)
_COMPLAINT = Pattern(
    r"(?:(?:这|那)?(?:一)?(?:张|个|幅|次|样)?(?:图片?|画|画面|照片|效果|颜色|感觉|构图|色调|脸|整体)?(?:画|做|弄|生成|出)?得?|它|看起来|看着|我?觉得|感觉|怎么|还是|有一?点儿?|有些|真的?是?|实在|简直|太|好|很|挺|非常|特别|超级?|更|越来越|都|也|我|嗯++|唉|哎呀?|呃|额|,){0,6}"
    r"(?:(?:难看|丑|差劲?|烂|糟糕?|垃圾|奇怪|怪异?|怪怪的?|别扭|失败|恶心|诡异|失望|不忍直视|一言难尽|离谱|辣眼睛|不伦不类|四不像|差点意思|差远了|差强人意|无聊|没意思|不自然|变形了?|崩了|画崩了|翻车了?|一般般?|平庸)"
    r"|(?:不太|不怎么|不够|不是很|不是太|不那么|一点(?:儿)?(?:都|也)不|并不|不大|不|没有?(?:那么)?|没那么)(?:太)?(?:好看|漂亮|美|行|好|像|对劲?|满意|理想|合适|喜欢|到位|自然|完美|可爱|清楚|真实|(?:是)?我?(?:想要|想象|要|想)的?(?:样子|感觉|效果|那样|那种|这样)?|是(?:那个|这个)意思|那个?味|那种感觉|感觉)"
    r"|(?:不是|跟|和|与)我?(?:想要?|想象|要|期待|说|预期)(?:的|中的)?(?:样子|感觉|效果|那样|那种|这样)?(?:的?(?:不太?一样|不同|有差距|差太多|不符))?)"
    r"(?:了|啊|呀|吧|呢|的|极了|死了|图|画|哦|诶|欸|吗|[!~]){0,4}"
)
_COUNTED = Pattern(
    rf"(?P<lead>(?:我|还是|其实|应该|必须|需要|画面里|图里|里面|一共|总共|只|就|就要|得|要|想要|改成|变成|换成|变|改|画|有|是|来|留|给我|想画|说的是){{0,4}})"
    rf"(?P<number>一|好几|[两二三四五六七八九十几]|\d+|许多|很多)(?P<measure>[{MEASURES}])(?P<what>.*?)(?P<enough>(?:就(?:好|行|够|可以|ok)了?|就够了|够了|即可)?)(?:吧|了){{0,2}}"
)
_WRONG = Pattern(
    r"(?:啊|哎呀|哦|呃|不好意思|抱歉|对不起)?[,\s]*(?:不对|不是的?|错了|不|我?(?:说|搞|打|弄|写|讲)错了|你?(?:画|理解|搞|弄)错了|不是这样|不是这个意思)(?:啊|呀|吧|哦|呢|了|的)*"
)
_QUESTION = Pattern(
    r"(?!.*(?:帮我|给我画|把|加上|换成|改成|变成|去掉|删|画一|来一))(?:.*(?:什么|谁|为什么|为啥|怎么(?!样$)|哪里|哪个|哪些|哪种|哪儿|多少|几点|如何|干嘛|啥).*"
    r"|(?:你|您)(?:是|叫|会|能|可以|有|知道|觉得|在|喜欢|懂|认识|多大|好吗|还好吗).*|.*(?:是不是|有没有|会不会|对不对|是吗|真的吗|多大|几岁)|这是.*|现在几.*|今天.*(?:吗|呢|怎么样))"
)
_NARRATIVE = Pattern(
    r"我(?:今天|昨天|刚才|刚刚|小时候|以前|曾经|正在|有(?:一|个|点)|是|去|跟|和|最近|女儿|儿子|妈妈|爸爸|老婆|老公|朋友|们|也(?:觉得|喜欢)|叫|住|记得|还记得|以为|的(?:猫|狗|家|朋友|女儿|儿子)).*|今天(?!.*[画要想]).*"
)
_RESET = Pattern(
    r"(?:(?:我们?)?(?:来|画|换)(?:点|个|一个|张|一张|些)?(?:别的|其他的?|另外的|不一样的|新的)(?:吧|东西|内容)?"
    r"|换(?:一)?(?:个|张|幅|下)(?:主题|题材|话题|新的|内容|图|画|思路)?(?!.{0,6}(?:颜色|背景|风格|姿势|角度|天气|季节|时间|发型|衣服|表情))"
    r"|重新(?:来过?|开始|画(?=.))(?:一(?:个|张|幅)(?=$))?|从头(?:来过?|开始|再来|画)|推倒重来|重来|不(?:要|画|想要|想画|想看|喜欢)(?:这个|这张|这些|那个|那张|它|刚才的|之前的)(?:图|画|主题)?了?"
    r"|(?:把)?(?:忘(?:了|掉|记)|别管|不管|抛开)(?:刚才|之前|前面|这个|它|那个|以上|这些)?(?:的|那个|那张|画|图|内容)*(?:吧|了)?|(?:刚才|之前|前面)的?(?:都)?(?:不要了|作废|忘掉|不算)|清空|重置|新(?:的)?(?:图|画|主题)(?=[::,]))[吧了呢啊]?[::,\s]*"
)
_REDRAW = Pattern(
    r"(?:再(?:来|画|生成|做|出|试)|重新(?:画|生成|做|出|试))(?:一(?:张|次|遍|幅|个|版|下))?|重画|重新生成.{0,3}|换一(?:张|个|幅|版)|再试.{0,3}|换一?[个种].{0,6}(?:颜色|背景|风格|姿势|角度|天气|季节|发型|衣服|表情)|(?:再)?多(?:来|画|给我)(?:几|一|两|些)?(?:张|幅|点|些)?|再来几?张?|(?:同样|类似|一样|差不多)的?(?:再)?来?(?:一|几|两)?(?:张|幅|个)|更多(?:的?图片?|类似的)?|再来.{0,2}(?:类似|差不多)的?|继续(?:画|生成)?|再来一?(?:些|点)|还要|再要一?张|重做|重来一张|下一张|换个版本"
)
_UNDO = Pattern(
    r"(?:撤销|撤回|恢复(?:原样|之前的?|到?上一(?:步|张|版))?|(?:改|变|换)回(?:去|来|原来的?(?:样子)?|之前的?)|回到(?:之前|上一(?:步|张|版)).*|还原)"
)
_REMOVING = r"(?:去掉|去除|去了|删掉|删除|删了|删|移除|移走|移掉|拿掉|拿走|拿开|擦掉|擦除|抹掉|抹去|清除|清掉|消除|除去|除掉|隐藏|弄掉|弄走|抠掉|P掉|消失|赶走)"
_BACK = (
    Pattern(
        r"(?:把|将)?(?P<what>.+?)(?:再)?(?:加|放|拿|弄|画|补|找|添|请|要)回(?:来|去|上)?(?:了)?"
    ),
    Pattern(r"(?:恢复|保留|留着|留下)(?P<what>.+)"),
    Pattern(r"(?:把|将)?(?P<what>.+?)(?:还是)?(?:恢复|保留|留着|留下)"),
)
_REMOVE = (
    Pattern(
        rf"(?:把|将)(?P<what>.+?)(?:都|全部|全都|全|统统|也|给|再)*(?:{_REMOVING}|不要)(?:了)?"
    ),
    Pattern(
        rf"(?P<place>天上|天空中?|背景(?:里|中)?|画面(?:里|中|上)?|图(?:里|中|上)|照片(?:里|中|上)|里面|旁边|地上|周围|街上|后面|前面)?(?:都|也|千万)?(?:{_REMOVING}|不要(?:再)?(?:有|出现|画|放|加)?|别(?:有|画|加|出现|要|放)|不(?:想要|需要|用画|用|想看到|想有|该有|应该有|画|加|出现|能有|许有)|没有|没|无|排除|避免)(?:任何|那个|那些|所有的?|其他的?)?(?P<what>.+?)(?:了)?"
    ),
    Pattern(
        rf"(?P<what>.+?)(?:就|都|也|全部?|还是|可以|要)*(?:{_REMOVING}|不要|不需要|不用画?|不要有)(?:了)?"
    ),
)
_SWAPPING = r"(?:替换|改变|转换|变换|修改|换|改|变|转|弄|画|做|涂|染|调|刷|改造|处理|P)(?:成|为|做|到|作)(?:了)?"
_SWAP = Pattern(
    rf"(?:(?:把|将|让|给)?(?P<old>.*?))?(?:都|全部|全|也|再|直接|整体)?{_SWAPPING}(?P<new>.+)"
)
_SWAP_USING = Pattern(r"(?:用|拿)(?P<new>.+?)(?:来)?(?:代替|替换|取代|替代)(?:掉)?(?P<old>.+)")
_BACK_TO = Pattern(r"(?:回到|返回到?|变回到?|换回到?|改回到?|恢复(?:成|到|为))(?:成)?(?P<new>.+)")
_INSTEAD = Pattern(r"(?:改?用|拿)(?P<new>.+?)(?:来)?(?:代替|替换|取代|替代)(?:它|掉|吧|一下)*")
_MANY = Pattern(
    r"(?P<what>[^太]+?)(?:再|要|可以|更|稍微)*多(?:一点儿?|一些|点|些)|(?:更|再)?多(?:一点儿?|一些|点|些)(?P<thing>.+)"
)
_FEW = Pattern(
    r"(?P<what>.+?)(?:再|要|可以|更|稍微)*少(?:一点儿?|一些|点|些)|(?:更|再)?少(?:画|放|加)?(?:一点儿?|一些|点|些)(?P<thing>.+)|(?P<them>.+?)(?:有点|实在|还是)?太多了?"
)
_NOT = Pattern(r"(?:而|并|可)?不(?:是|要是|应该是)(?P<what>.+)")
_MEANT = Pattern(
    r"(?:(?:我)?(?:说|指|意思|要|想要|想画|想说|本来想要|想的|画)(?:的)?(?:其?实)?是(?:要|想要|想画)?|我是(?:说|想要|要|想画)|(?:应该|其实|应当|本来|而|得|那)*(?:是|改用|换作)|(?:改|换|变|改要)(?=[^变了成个]))(?P<new>.+)"
)
_BETTER = Pattern(
    r"(?P<new>.+?)(?:会|可能|应该|也许|看起来|看上去|的话)*(?:更|比较|更加|要)(?:好看|好|合适|美|漂亮|酷|有感觉|棒|适合|不错|有意境)(?:一?[点些])?"
)
_PLACE = Pattern(
    r"(?:把|将|让)(?P<what>.+?)(?:放|移|摆|搬|挪|安排|置|移动|坐|站|躺)(?:到|在|进|去|至|于)(?P<where>.+)"
)
_GIVE = Pattern(
    r"(?:给|为|帮)(?P<target>它|他|她|它们|他们|她们|这.+?|那.+?|小?[^加戴穿配画添弄打撑]+?)(?:头上|身上|手里|手上|脖子上)?(?P<verb>戴上?|穿上?|加上?|配上?|画上?|添上?|披上?|系上?|打上?|撑上?|来|弄上?|安上?)(?P<what>.+)"
)
_LET = Pattern(
    r"(?:让|使|叫)(?P<target>它|他|她|它们|他们|她们|这.+?|那.+?|画面|整体|颜色|天空|背景|[^看起变显更戴穿拿坐站跑飞笑走睡跳抱打]+?)(?:看起来|变得|变|显得|更加?|再)*(?P<what>.+)"
)
_TOO = Pattern(r"(?P<rest>.*?(?:太|过于|有点|偏).{1,3}?)了?")
_DEGREE = Pattern(r"(?P<rest>.+?)(?:一点儿?|一些|点儿?|些)")
_MORE_SO = Pattern(r"(?P<rest>.*(?:更加?|再).{1,4})")
_ADVERBS = Pattern(
    r"(?:再|更加?|要|稍微|得|可以|变得|变|调|弄|画|太|过于|有点|有些|偏|实在|感觉|还是|显得|看起来|应该)+$"
)
_ADD = Pattern(
    r"(?P<place>.{0,8}?)(?:再|还|也|多|另外|旁边)*(?:添加|增加|加入|加上|加进|添上|画上|放上|补上|配上|加|添|补|放|摆|多画|多加|要有|需要有|得有|画|来|有|要|多)(?:了|上|个(?=[^一-龥]))?(?P<what>.+)"
)
_STYLE = Pattern(
    r"(?:整体|画面|图|照片|这张照片|这张图)?(?:用|以|按照?|采用|要|走|来|带|有|是|做|呈现|试试|使用|改用|换)?(?:点|种)?(?:像|类似于?|仿照?|模仿)?(?P<what>.+?)"
    r"(?:那样|那种|这种|一样|一般|似)?的?(?:风格|画风|风(?!景|车|筝|扇|力)|感觉|效果|样式|质感|笔触|手法|味道|调调|气质|滤镜|流派|版本?|形式)(?:画|绘制|来画|呈现|一点|的)*"
)
_STYLED_THING = Pattern(
    r"(?:画|绘制|生成|来|做|用|以|要)*(?:一?[幅张个只])?(?P<what>[^一-龥]*[\u4e00-\u9fff]{2,10}?)(?:风格|画风)的?(?:画|绘制)?的?(?P<rest>.+)"
)
_LIKE = Pattern(
    r"(?:看起来|画得|变得|弄得)?(?:像|类似|如同|仿佛|仿照?|模仿)(?P<what>.+?)(?:那样|一样|似的|那种|般|一般)?(?:的)?(?P<kind>画作?|照片|图片|油画|作品|感觉|样子|风格)?"
)
_IMAGE = Pattern(
    r"(?:这|那|整)?(?:张|个|幅)?(?:照片|图片?|画面?|图像|相片|整体|它|全部|颜色|色彩|风格|时间|季节|天气|画风|场景|氛围)(?:的颜色|的风格|的时间|的天气)?"
)
_COLOUR_OF = Pattern(r"(?P<target>.+?)的?(?:颜色|色彩|毛色|配色|样子|造型)")
_PRONOUN = Pattern(r"(?:它|他|她|它们|他们|她们|这个|那个|主体|主角)")
_ANTONYMS = {
    "暗": "bright", "黑": "bright", "亮": "dark", "大": "small", "小": "big", "冷": "warm", "热": "cool", "乱": "clean", "空": "rich in detail",
    "简单": "detailed", "复杂": "simple", "艳": "muted colours", "鲜艳": "muted colours", "淡": "vivid", "悲伤": "happy", "老": "young",
    "年轻": "old", "恐怖": "friendly", "吓人": "friendly", "模糊": "sharp", "假": "realistic", "挤": "spacious", "瘦": "chubby", "胖": "slim",
    "单调": "colourful", "远": "close-up", "近": "wide shot", "死板": "lively", "刺眼": "soft light", "高": "low", "矮": "tall",
}  # fmt: skip
_DEGREE_WORDS = {
    "亮": "bright", "暗": "dark", "大": "big", "小": "small", "鲜艳": "vivid", "艳": "vivid", "暖": "warm", "冷": "cold", "可爱": "cute", "真实": "realistic",
    "写实": "realistic", "细致": "detailed", "清晰": "sharp", "清楚": "sharp", "远": "wide shot", "近": "close-up", "热闹": "busy", "柔和": "soft",
    "简单": "simple", "梦幻": "dreamy", "神秘": "mysterious", "浪漫": "romantic",
}  # fmt: skip

Knows = Callable[[str], bool]


def operations(message: str, knows: Knows) -> list[Operation]:
    """The operations of a message in order; `knows(phrase)` says if the picture shows it."""
    message = message.translate(PUNCTUATION).translate(simplified())
    message = (
        re.sub(r"[「」『』《》“”]", "", message).replace("一点的", "的").replace("一些的", "的")
    )
    found: list[Operation] = []
    for sentence in re.findall(r"[^.!?;\n]+[.!?;\n]*", message):
        asked = "?" in sentence
        for clause in _SPLIT.split(sentence.strip(" .!?;\n~…")):
            found += [
                _understood(operation, clause, knows)
                for operation in _operations_of(clause.strip(" :"), asked, knows, found)
            ]
    return join_corrections([item for item in found if item != _CORRECTED], knows)


_SPLIT = Pattern(
    r"\s*,\s*|(?<=.)(?=但是|不过|可是|只不过|而不是|而非)|(?<=[^不非])(?=但(?!愿|是))|(?<=[样变动的])(?=只是|就是)|(?<=不变|不动|别动|别变|一样)(?=把|加|换|改|只)"
)


def _understood(operation: Operation, clause: str, knows: Knows) -> Operation:
    """The operation without the words that stayed Chinese, if it still says something then.

    What describes or adds a thing loses single attributes at most: the thing itself must be
    known. Where something is drawn already, a description must be known whole.
    """
    texts = [value for value in _texts(operation) if FOREIGN.search(value)]
    if not texts:
        match operation:
            case Addition(text) | Draw(text) if words(text) and not stems(text):
                return Chat("unclear", clause)  # "some", and nothing more
        return operation
    unknown = "、".join(dict.fromkeys(word for text in texts for word in FOREIGN.findall(text)))
    match operation:
        case Draw(text, fresh) if fresh or not knows(""):
            known = _known(text)
            return Draw(known, fresh, left_out=unknown) if known else Chat("unclear", clause)
        case Addition(text, back):
            known = _known(text)
            return Addition(known, back, left_out=unknown) if known else Chat("unclear", clause)
    return Chat("unclear", clause)


def _texts(operation: Operation) -> list[str]:
    return [
        value
        for name in ("text", "old", "new", "target", "value", "what")
        if isinstance(value := getattr(operation, name, None), str)
        and not isinstance(operation, Chat)
    ]


def _known(text: str) -> str:
    """A translated phrase without its Chinese words; empty when its subject is among them."""
    scene = Scene.parse(text)
    kept: list[Piece] = []
    for number, piece in enumerate(scene.pieces):
        found = piece.text.split()
        if (found and FOREIGN.search(found[-1])) or FOREIGN.search(piece.link):
            if number == 0:
                return ""
            continue
        piece.text = with_article(" ".join(word for word in found if not FOREIGN.search(word)))
        kept.append(piece)
    if FOREIGN.search(scene.medium):
        return ""
    first = words(str(kept[0])) if kept else []
    if not first or first[0] in PREPOSITIONS or kept[0].link or not stems(kept[0].text):
        return ""
    if sum(map(len, FOREIGN.findall(text))) > 2 * sum(len(words(str(piece))) for piece in kept):
        return ""  # more was lost than found
    scene.pieces = kept
    return scene.render()


_CORRECTED: Operation = Chat("unclear")
"""Stands for "that is wrong" until the clause after it says what is right."""


def _operations_of(
    clause: str, asked: bool, knows: Knows, before: list[Operation]
) -> list[Operation]:
    if not clause:
        return []
    if len(clause) > LONGEST_CLAUSE:
        return [Draw(translate(clause))]
    if _WRONG.fullmatch(clause):
        return [_CORRECTED]
    if chat := _chat(clause, asked):
        return [chat]
    corrected = bool(before) and before[-1] == _CORRECTED
    fresh = more = False
    for _ in range(8):
        start = clause
        clause = _END.sub("", clause).strip(" ,:")
        for pattern, reset in ((_RESET, True), (_START, False)):
            if (match := pattern.match(clause)) and not (reset and _REDRAW.fullmatch(clause)):
                rest = clause[match.end() :].strip(" ,:")
                if reset:
                    return [Reset(), *(_operations_of(rest, False, knows, []) if rest else [])]
                if not rest:
                    break
                fresh = fresh or any(
                    mark in match.group() for mark in ("想", "我要", "给我", "帮我")
                )
                clause = rest
        if clause == start:
            break
    if (match := _MORE.match(clause)) and not _REDRAW.fullmatch(clause):
        more, rest = True, clause[match.end() :]
        if not _DEGREE.fullmatch(clause):
            clause = rest
    if _PRAISE.fullmatch(clause):
        return [Chat("praise")]
    found = _by_rule(clause, more, knows)
    if found is not None:
        return found
    return _unruled(clause, corrected, fresh, more, before)


def _chat(clause: str, asked: bool) -> Chat | None:
    kinds: tuple[tuple[ChatKind, Pattern], ...] = (
        ("greeting", _GREETING),
        ("thanks", _THANKS),
        ("praise", _PRAISE),
        ("complaint", _COMPLAINT),
        ("statement", _ACKNOWLEDGE),
        ("statement", _KEEP),
        ("undo", _UNDO),
        ("question", _QUESTION),
        ("statement", _NARRATIVE),
    )
    for kind, pattern in kinds:
        if pattern.fullmatch(clause) and (
            kind != "question" or asked or re.search(r"什么|谁|为什么|多少|[吗呢]", clause)
        ):
            return Chat(kind)
    return None


def _by_rule(clause: str, more: bool, knows: Knows) -> list[Operation] | None:
    if not more and (counted := _count(clause, knows)):
        return counted
    for rule in (_redo, _amount, _remove, _change, _excess, _look, _degree):
        found = rule(clause)
        if found is not None:
            return found
    return _add(clause, more)


def _redo(clause: str) -> list[Operation] | None:
    if _REDRAW.fullmatch(clause):
        return [Redraw()]
    for pattern in _BACK:
        if match := pattern.fullmatch(clause):
            return [Addition(translate(match["what"]), back=True)]
    return None


def _count(clause: str, knows: Knows) -> list[Operation] | None:
    match = _COUNTED.fullmatch(clause)
    if match is None:
        return None
    number = {"一": "one", "1": "one", "许多": "many", "很多": "many"}.get(
        match["number"], NUMBERS.get(match["number"], match["number"])
    )
    lead = match["lead"] + match["enough"]
    if number == "one" and not re.search(r"只|就|够|改|变|换|留", lead):
        return None  # as much as "a"
    if not match["what"]:
        return [Count(number)] if lead or number != "one" else None
    what = translate(match["what"])
    described = words(bare(what))[:-1]
    if CJK.search(what) or not all(map(is_adjective, described)) or not knows(what):
        return None
    return [Count(number, bare(what))]


def _amount(clause: str) -> list[Operation] | None:
    if match := _MANY.fullmatch(clause):
        return [Addition(f"many {_plural(translate(match['what'] or match['thing']))}")]
    if match := _FEW.fullmatch(clause):
        return [Fewer(_plural(translate(match["what"] or match["thing"] or match["them"])))]
    return None


def _plural(noun: str) -> str:
    counted = re.match(r"an? (.*?)(\w+)$", noun)
    return counted[1] + plural(counted[2]) if counted else noun


def _remove(clause: str) -> list[Operation] | None:
    if match := _NOT.fullmatch(clause):
        return [Not(translate(match["what"]))]
    for pattern in _REMOVE:
        if match := pattern.fullmatch(clause):
            what = re.sub(r"^(?:里|中|上|面)?(?:的)?(?:那|这)?些?|的?都$", "", match["what"])
            what = re.sub(r"^(?:照片|图片?|画面?|背景|天上|街上)(?:里|中|上)面?的?(?=.)", "", what)
            if what in ("", "这样", "这么多", "那么多", "变", "太"):
                return None
            parts = re.split(r"[和与跟、或]", what)
            return [Removal(translate(part)) for part in parts if part]
    return None


def _change(clause: str) -> list[Operation] | None:
    if match := _PLACE.fullmatch(clause):
        return [Place(_target(match["what"]), translate(f"在{match['where']}"))]
    if match := _SWAP_USING.fullmatch(clause):
        return [_swapped(match["old"], match["new"])]
    if match := _SWAP.fullmatch(clause):
        return [_swapped(match["old"] or "", match["new"])]
    if match := _GIVE.fullmatch(clause):
        verb = "wearing" if match["verb"][0] in "戴穿披系" else "with"
        return [Attach(_target(match["target"]), f"{verb} {translate(match['what'])}")]
    if match := _MEANT.fullmatch(clause):
        return [_swapped("", match["new"])]
    if match := _BETTER.fullmatch(clause):
        return [_swapped("", match["new"])]
    if match := _BACK_TO.fullmatch(clause) or _INSTEAD.fullmatch(clause):
        return [_swapped("", match["new"])]
    return None


def _swapped(old: str, new: str) -> Operation:
    """Make `old` into `new`: an attribute of it, a style of the whole, or another thing."""
    if match := _LIKE.fullmatch(new.strip("的")):
        return _styled(match["what"], match["kind"])
    if match := _STYLE.fullmatch(new):
        return _styled(match["what"], None)
    value = translate(
        re.sub(r"^(?:一?[种个点张幅])(?=.)", "", new)
        if is_value(translate(new[1:] or new))
        else new
    )
    old = re.sub(r"^(?:把|将)", "", old).strip("的 ")
    old = re.sub(
        r"(?<=.)(?:可不可以|能不能|可以|可否|能否|能|应该|应当|需要|要|也|都|再|直接|就)+$", "", old
    )
    if re.fullmatch(r"背景.{0,2}", old):
        return Set("background", value)
    if not old or _IMAGE.fullmatch(old):
        if is_value(value):
            return Set(None, value)
        return Replace(None, value if _counted(new) else re.sub(r"^an? ", "", value))
    if match := _COLOUR_OF.fullmatch(old):
        return Set(_target(match["target"]), value)
    if is_value(value):
        return Set(_target(old), value)
    if not _counted(new):
        value = re.sub(r"^an? ", "", value)
    return Replace(None if _PRONOUN.fullmatch(old) else translate(old), value)


def _counted(text: str) -> bool:
    """Whether a Chinese noun phrase begins with a number or the like."""
    return any(token.kind == "det" for token in segment(text)[:1])


def _target(text: str) -> str | None:
    text = text.strip("的 ")
    return (
        None if not text or _PRONOUN.fullmatch(text) or _IMAGE.fullmatch(text) else translate(text)
    )


def _styled(what: str, kind: str | None) -> Operation:
    name = translate(what)
    if re.fullmatch(r"像?(?:照片|真的?|真实|写实)", what):
        return Restyle("a realistic photo")
    found = role(name)
    if found in ("medium", "palette"):
        return Restyle(name)
    lead = ""
    if kind in ("画", "画作", "油画", "照片", "图片"):
        lead = f"{translate(kind)} "
    named = name[:1].isupper() or name.startswith("the ")
    return Restyle(f"{lead}in the style of {name}" if named or lead else f"{bare(name)} style")


def _look(clause: str) -> list[Operation] | None:
    if (match := _STYLE.fullmatch(clause)) and len(match["what"]) <= 20:
        return [_styled(match["what"], None)]
    if match := _STYLED_THING.fullmatch(clause):
        return [Draw(translate(match["rest"]), fresh=True), _styled(match["what"], None)]
    if match := _LIKE.fullmatch(clause):
        return [_styled(match["what"], match["kind"])]
    if re.fullmatch(r".*上色", clause):
        return [Restyle("in colour")]
    if role(translate(clause)) in ("medium", "palette"):
        return [Restyle(translate(clause))]
    return None


def _excess(clause: str) -> list[Operation] | None:
    return _graded(clause, (_TOO, True))


def _degree(clause: str) -> list[Operation] | None:
    return _graded(clause, (_DEGREE, False), (_MORE_SO, False))


def _graded(clause: str, *rules: tuple[Pattern, bool]) -> list[Operation] | None:
    for pattern, less in rules:
        if not (match := pattern.fullmatch(clause)):
            continue
        rest = match["rest"]
        for size in range(min(4, len(rest)), 0, -1):
            what, before = rest[-size:], rest[:-size]
            known = chinese().get(what)
            value = _ANTONYMS.get(what) if less else _DEGREE_WORDS.get(what)
            if value is None and known and known[1] in ("adjective", "colour"):
                value = f"less {known[0]}" if less else known[0]
            target = _ADVERBS.sub("", before)
            if value and (not before or target != before or target):
                return [Set(_target(target), value)]
    return None


def _add(clause: str, more: bool) -> list[Operation] | None:
    if (match := _LET.fullmatch(clause)) and CJK.search(match["what"]):
        value = translate(match["what"])
        if value != match["what"]:
            target = _target(match["target"])
            return [Set(target, value) if is_value(value) else Attach(target, value)]
    if not (match := _ADD.fullmatch(clause)):
        return None
    verb = clause[len(match["place"]) : match.start("what")]
    if not more and not re.search(r"加|添|补|放|摆|多|再|还|也|有", verb):
        return None
    place, what = match["place"], match["what"]
    where = re.sub(r"^(?:在|往|给)", "", place)
    if not where or _PRONOUN.fullmatch(where) or _IMAGE.fullmatch(where):
        return [Addition(translate(what))]
    if (
        segment(where) and segment(where)[-1].kind in ("loc", "somewhere", "place")
    ) or where in PLACES:
        return [Addition(translate(f"{where}有{what}"))]
    return None


def _unruled(
    clause: str, corrected: bool, fresh: bool, more: bool, before: list[Operation]
) -> list[Operation]:
    if match := _DRAW.match(clause):
        clause, fresh = clause[match.end() :], True
    clause = re.sub(r"^(?:一下|的是)|(?<=.)(?:一点儿?|一些)$", "", clause)
    if (styled := _look(clause)) and not more:
        return styled
    text = translate(clause)
    if not text:
        return []
    last = before[-1] if before else None
    if corrected:
        return [Set(None, text) if is_value(text) else Replace(None, text)]
    if more or isinstance(last, Addition):
        return [Addition(text)]
    if is_value(text) and not isinstance(last, Draw):
        return [Set(None, text)]
    if singular(text.lower()) in ("picture", "photo") and not fresh:
        return [Redraw()]
    return [Draw(text, fresh)]
