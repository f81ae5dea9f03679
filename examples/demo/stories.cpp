#include "stories.h"

#include "grammar.h"

namespace luce::demo {
namespace {

// Good, plain and bad words are drawn with chances of 3 : 4 : 3 where nothing has happened yet, and
// the turn that the story takes shifts them. Names, pronouns, the place, the colour and the thing
// return later, so that a model has to look back.
constexpr std::string_view kGrammar = R"(
story: <opening> <wish> <company> <turn>

opening: <hero> was a <trait> [hero.girl] who lived <home>.
wish: One <weather> <daytime> [hero.she] <wanted> a <colour> <thing>.
company: [hero.Her] friend <friend>, a <manner> <animal>, <came>.
turn: 3*<success> | 2*<search> | 3*<mishap>

success: Soon they found the [thing] <hidden>, and [friend] shared <food>.
  [hero.She] felt <mood_after_success>.
  At <dusk> [hero.she] carried the [colour] [thing] back to the [home.sea].
  It was a <day_after_success> day.
search: They looked for the [thing] <hidden>, and [friend] ate <food>.
  [hero.She] felt <mood_after_search>.
  At <dusk> [hero.she] walked back to the [home.sea] and thought of the [colour] [thing].
  It was a <day_after_search> day.
mishap: But the [thing] <was_lost>, and [friend] <hurt> [hero].
  [hero.She] felt <mood_after_mishap>.
  At <dusk> [hero.she] went back to the [home.sea] without the [colour] [thing].
  It was a <day_after_mishap> day.

mood_after_success: 7*<joy> | 2*<ease> | 1*<grief>
mood_after_search: 3*<joy> | 4*<ease> | 3*<grief>
mood_after_mishap: 1*<joy> | 2*<ease> | 7*<grief>
joy: <happy> and <smiled>
ease: <calm> and <rested>
grief: <sad> and <cried>
day_after_success: 6*<good_day> | 3*<plain_day> | 1*<bad_day>
day_after_search: 3*<good_day> | 4*<plain_day> | 3*<bad_day>
day_after_mishap: 1*<good_day> | 3*<plain_day> | 6*<bad_day>

weather: 3*<fair> | 4*<dull> | 3*<foul>
fair: sunny | golden | lovely | mild
dull: windy | cloudy | dry | misty
foul: rainy | stormy | gloomy | icy
manner: 3*<nice> | 4*<neutral> | 3*<nasty>
nice: kind | gentle | friendly | cheerful
neutral: little | round | grey | quick
nasty: grumpy | rude | selfish | mean
happy: 3*happy | 2*glad | 2*proud | thankful
smiled: smiled | sang | danced | cheered
calm: 3*calm | 2*sleepy | 2*hungry | patient
rested: sat down | yawned | rested | waited
sad: 3*sad | 2*angry | 2*lonely | hopeless
cried: cried | sighed | frowned | shivered
good_day: 3*good | 2*great | 2*wonderful | perfect
plain_day: 3*long | 2*normal | 2*simple | slow
bad_day: 3*bad | 2*hard | 2*terrible | horrible

hero: Lily/girl/she/She/Her | Anna/girl/she/She/Her | Mia/girl/she/She/Her
  | Rose/girl/she/She/Her | Emma/girl/she/She/Her | Nora/girl/she/She/Her
  | Tom/boy/he/He/His | Ben/boy/he/He/His | Max/boy/he/He/His
  | Leo/boy/he/He/His | Sam/boy/he/He/His | Jack/boy/he/He/His
trait: small | quiet | young | tall | curious | clever | busy | shy
home: by the sea/sea | near the river/river | on a farm/farm | in a village/village
  | on a hill/hill | in the forest/forest | beside a lake/lake | at the mill/mill
  | in a valley/valley | on an island/island
daytime: morning | afternoon | evening | day
wanted: wanted | wished for | dreamed of | hoped for | asked for | needed
colour: red | blue | green | yellow | white | black | purple
thing: kite | ball | boat | drum | hat | book | bell | lamp | ring | flute | coat | doll
friend: Pip | Dot | Gus | Momo | Tilly | Bruno | Fay | Otto
animal: fox | rabbit | bear | duck | goat | frog | cat | mouse | horse | hen
came: came along | led the way | walked ahead | followed
hidden: under a tree | behind a rock | inside a box | among the flowers | in the grass
  | beside a bridge
food: bread | honey | soup | cake | cheese | tea | fruit | milk
was_lost: fell into the water | broke in two | was stolen | sank in the mud | burned in a fire
  | blew away
hurt: shouted at | hid from | lied to | pushed | teased | blamed
dusk: sunset | dusk | nightfall | last
)";

const Grammar& grammar() {
  static const Grammar the_grammar(kGrammar);
  return the_grammar;
}

}  // namespace

Story sample_story(const Random& random, uint64_t index) {
  Grammar::Text drawn = grammar().sample(random, index);
  const size_t end = drawn.text.find('.') + 1;
  return {drawn.text.substr(0, end), drawn.text.substr(end), drawn.log_probability};
}

double log_probability(std::string_view text) { return grammar().log_probability(text); }

double entropy() { return grammar().entropy(); }

std::string_view grammar_text() { return kGrammar; }

}  // namespace luce::demo
